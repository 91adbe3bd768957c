#!/usr/bin/env bash
# GA-GRPO of Qwen3-VL-8B on 8 x 80 GB with verl 0.9; every further argument is one of verl's (key=value).
# Before: `ophiscope env serve` somewhere, OPHISCOPE_ENV_URL naming it, and rows from make_rows.py in $DATA.
set -euo pipefail
HERE="$(cd "$(dirname "$0")" && pwd)"
DATA="${DATA:?the folder that make_rows.py wrote}"
export PYTHONPATH="$HERE:${PYTHONPATH:-}" VERL_USE_EXTERNAL_MODULES=ophiscope_trainer

exec python -m verl.trainer.main_ppo \
  data.train_files="$DATA/rows.parquet" data.val_files="$DATA/rows.parquet" \
  data.train_batch_size=64 data.max_prompt_length=8192 data.max_response_length=8192 \
  data.return_raw_chat=true data.truncation=error \
  actor_rollout_ref.model.path="${MODEL:-Qwen/Qwen3-VL-8B-Instruct}" \
  actor_rollout_ref.model.lora_rank=64 actor_rollout_ref.model.lora_alpha=128 \
  actor_rollout_ref.actor.optim.lr=1e-6 actor_rollout_ref.actor.clip_ratio=0.2 \
  actor_rollout_ref.actor.use_kl_loss=false actor_rollout_ref.actor.loss_agg_mode=token-mean \
  actor_rollout_ref.actor.ppo_mini_batch_size=64 actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1 \
  actor_rollout_ref.rollout.name=vllm actor_rollout_ref.rollout.n=8 \
  actor_rollout_ref.rollout.multi_turn.enable=true actor_rollout_ref.rollout.multi_turn.format=hermes \
  actor_rollout_ref.rollout.multi_turn.tool_config_path="$DATA/tools.yaml" \
  actor_rollout_ref.rollout.multi_turn.max_assistant_turns=6 \
  actor_rollout_ref.rollout.multi_turn.max_parallel_calls=1 \
  actor_rollout_ref.rollout.multi_turn.max_tool_response_length=8192 \
  actor_rollout_ref.rollout.agent.default_agent_loop=tool_agent \
  reward.custom_reward_function.path="$HERE/ophiscope_reward.py" \
  algorithm.adv_estimator=grpo algorithm.norm_adv_by_std_in_grpo=false algorithm.use_kl_in_reward=false \
  trainer.use_v1=true trainer.v1.trainer_mode=ophiscope_ga \
  trainer.n_gpus_per_node=8 trainer.nnodes=1 trainer.save_freq=20 "$@"
