"""The table of docs/rewards.md. Run: ``PYTHONPATH=tests:tests/semantics python benchmarks/table_reward_hacks.py``"""

import test_reward_hacks as suite

COLUMNS = ("atrl_paper", "atrl", "ga_grpo_paper", "ga_grpo")

if __name__ == "__main__":
    for title, play in (("videos", suite.play_videos), ("images", suite.play_images)):
        facts = play()
        means = {preset: suite.mean_rewards(preset, facts) for preset in COLUMNS}
        print(f"| {title}, n = {suite.N} | " + " | ".join(f"`{preset}`" for preset in COLUMNS) + " |")
        print("|---" * (len(COLUMNS) + 1) + "|")
        for name in facts:
            print(f"| {name} | " + " | ".join(f"{means[preset][name]:.2f}" for preset in COLUMNS) + " |")
        print()
