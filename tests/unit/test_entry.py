"""The command's own entry: an interrupt at any moment is one line and code 130."""

import builtins

import pytest

from ophiscope import __main__ as entry
from ophiscope.apps import cli


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("early", [True, False], ids=["while it imports", "while it runs"])
def test_an_interrupt_is_one_line(early: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    if early:
        monkeypatch.setattr(builtins, "__import__", interrupt)
    else:
        monkeypatch.setattr(cli, "main", interrupt)
    with pytest.raises(SystemExit) as left:
        entry.main()
    monkeypatch.undo()
    assert left.value.code == 130
    assert capsys.readouterr().err == "ophiscope: interrupted before there was anything to close\n"
