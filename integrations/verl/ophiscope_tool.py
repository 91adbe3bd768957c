"""Our tools for verl's ``tool_agent`` loop: a call goes to the environment and comes back as text and pictures.

The episode of a trajectory is begun by its first call and kept in ``agent_data.extra_fields``, which verl hands on to
the reward. A tool never raises: verl has no time-out of its own, and an exception would end the whole group.
"""

from __future__ import annotations

import io
import json
from typing import Any

import ophiscope_client as env
from PIL import Image
from verl.tools.base_tool import BaseTool
from verl.tools.schemas import ToolResponse

__all__ = ["EPISODE", "OphiscopeTool"]

EPISODE = "ophiscope_episode"


class OphiscopeTool(BaseTool):
    """Any of our tools; its name and schema stand in the YAML that ``make_rows.py`` writes."""

    async def execute(
        self, instance_id: str, parameters: dict[str, Any], **kwargs: Any
    ) -> tuple[ToolResponse, float, dict]:
        """Serve a call; the reward comes at the end, so a step is worth 0."""
        data = kwargs["agent_data"]
        try:
            if EPISODE not in data.extra_fields:
                asked = data.tools_kwargs[self.name]["create_kwargs"]
                data.extra_fields[EPISODE] = (await env.begin(asked["task"], asked["seed"]))["episode"]
            call = json.dumps({"name": self.name, "arguments": parameters})
            told = await env.step(data.extra_fields[EPISODE], f"<tool_call>{call}</tool_call>")
        except env.EnvFailed as error:
            return ToolResponse(text=json.dumps({"error": "tool_failed", "message": str(error)})), 0.0, {"failed": 1}
        if told["done"]:
            data.extra_fields["ophiscope_end"] = told
            return ToolResponse(text="The episode is over."), 0.0, {}
        texts, pictures = zip(*(env.read_message(message) for message in told["messages"]), strict=True)
        shown = [Image.open(io.BytesIO(png)).convert("RGB") for some in pictures for png in some]
        return ToolResponse(text="".join(texts), image=shown or None), 0.0, {}
