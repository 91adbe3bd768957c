#!/usr/bin/env bash
# The whole small story on one machine without a GPU: both embedded models from nothing, their arms, their tables.
#
#   DATA=folder-of-seg_pack runs/all_cpu.sh            says the hours beforehand; the same command goes on after a stop
#   SCALE=0 runs/all_cpu.sh                            the least steps of everything: only whether it runs
#
# SCALE is a percentage of all steps and items. Two cores (training, and a process that draws), 6 GB of memory.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1
SCALE="${SCALE:-100}"
ROOT="${ROOT:-runs/all_cpu}"
PYTHON="${PYTHON:-.venv/bin/python}"
DATA="${DATA:-}"
PACK=()
if [ -n "$DATA" ]; then PACK=(--data "$DATA"); fi
mkdir -p "$ROOT/done"

scaled() { # STEPS LEAST
    local steps=$(($1 * SCALE / 100))
    echo $((steps < $2 ? $2 : steps))
}

steps() { scaled "$1" 2; }
items() { scaled "$1" 2; }

PLAN=()
plan() { # NAME MINUTES COMMAND...
    local name="$1" minutes="$2"
    shift 2
    PLAN+=("$name|$minutes|$(printf '%q ' "$@")")
}

nano() { echo "$PYTHON" -m "ophiscope.recipes.nano.$1"; }
video() { echo "$PYTHON" -m "ophiscope.recipes.nano_video.$1"; }
train=($(nano train) "${PACK[@]}")
late=(--aim 0 --blur 4 --lr 8e-4 --fall 0.85)
vision=($(nano pretrain_vision) "${PACK[@]}" --batch 32)

# pictures
plan vision 55 "${vision[@]}" --out "$ROOT/vision" --steps "$(steps 4000)"
plan aimed 36 "${train[@]}" --vision "$ROOT/vision/state.pt" --out "$ROOT/aimed" --frozen --dense 0 --steps "$(steps 720)" --aim 0.7
plan looks 63 "${train[@]}" --out "$ROOT/looks" --start "$ROOT/aimed" --seed 1 --aim 0 --steps "$(steps 900)" --lr 1e-3 --fall 0.85
for arm in tools none wide; do
    plan "arm-$arm" 78 "${train[@]}" --arm "$arm" --out "$ROOT/$arm" --start "$ROOT/looks" --seed 3 --steps "$(steps 1100)" "${late[@]}"
    plan "measure-$arm" 25 $(nano evaluate) --arm "$arm" --model "$ROOT/$arm" --out "$ROOT/$arm.json" --n "$(items 200)" "${PACK[@]}"
done
plan counts 39 "${vision[@]}" --out "$ROOT/counts" --start "$ROOT/tools/state.pt" --lr 8e-4 --seed 9 --steps "$(steps 2800)"
plan compares 62 "${train[@]}" --out "$ROOT/compares" --start "$ROOT/tools" --vision "$ROOT/counts/state.pt" --seed 4 --steps "$(steps 880)" "${late[@]}"
plan cores 55 "${vision[@]}" --out "$ROOT/cores" --start "$ROOT/compares/state.pt" --lr 8e-4 --seed 11 --steps "$(steps 4000)"
plan points 54 "${train[@]}" --out "$ROOT/points" --start "$ROOT/compares" --vision "$ROOT/cores/state.pt" --seed 5 --dense 16 --steps "$(steps 760)" "${late[@]}"
plan shipped 70 "${train[@]}" --out "$ROOT/shipped" --start "$ROOT/points" --seed 6 --dense 24 --steps "$(steps 1000)" "${late[@]}"
plan measure-shipped 25 $(nano evaluate) --model "$ROOT/shipped" --out "$ROOT/shipped.json" --n "$(items 200)" "${PACK[@]}"
plan interventions 20 $(nano interventions) --model "$ROOT/shipped" --out "$ROOT/interventions.json" --n "$(items 200)"
plan reflect 10 "$PYTHON" -m ophiscope train nano_image stage=reflect "start=hf:$ROOT/shipped" "steps=$(steps 200)" sft.lr=1e-4 --out "$ROOT/reflect"
plan plain 10 "$PYTHON" -m ophiscope train nano_image stage=cold_start "start=hf:$ROOT/shipped" "steps=$(steps 200)" sft.lr=1e-4 --out "$ROOT/plain"
plan measure-reflect 15 $(nano reflection) --model "hf:$ROOT/shipped" --model "hf:$ROOT/reflect/checkpoint" --model "hf:$ROOT/plain/checkpoint" --n "$(items 200)"
plan reinforce 60 "$PYTHON" -m ophiscope train nano_image "start=hf:$ROOT/reflect/checkpoint" "steps=$(steps 100)" --out "$ROOT/reinforce"

# videos and volumes
plan frames 34 $(video pretrain_frames) --out "$ROOT/frames" --start "$ROOT/shipped" --steps "$(steps 1700)"
plan video-aimed 30 $(video train) --out "$ROOT/video-aimed" --frames "$ROOT/frames/state.pt" --start "$ROOT/shipped" --aim 0.8 --steps "$(steps 640)"
plan video-whole 115 $(video train) --out "$ROOT/video-whole" --frames "$ROOT/frames/state.pt" --start "$ROOT/video-aimed" --marked --aim 0.3 --steps "$(steps 1500)"
plan measure-video 10 $(video evaluate) --model "hf:$ROOT/video-whole" --out "$ROOT/video.json" --frames "$ROOT/frames/state.pt" --n "$(items 50)"
plan video-reinforce 60 "$PYTHON" -m ophiscope train nano_video "start=hf:$ROOT/video-whole" "steps=$(steps 100)" --out "$ROOT/video-reinforce"

# many seeds of a small world
plan micro 25 "$PYTHON" -m ophiscope.recipes.micro.run --out "$ROOT/micro.jsonl" --seeds "$(items 30)"

left=0
for entry in "${PLAN[@]}"; do
    IFS='|' read -r name minutes _ <<<"$entry"
    [ -e "$ROOT/done/$name" ] || left=$((left + minutes * (SCALE > 0 ? SCALE : 1) / 100 + 1))
done
echo "${#PLAN[@]} parts in $ROOT; what is left takes about $((left / 60)) h $((left % 60)) min on two cores."
if [ -z "$DATA" ]; then echo "DATA names no seg_pack: phantoms only, and the rows of real pictures stay empty."; fi

for entry in "${PLAN[@]}"; do
    IFS='|' read -r name minutes command <<<"$entry"
    if [ -e "$ROOT/done/$name" ]; then continue; fi
    echo "== $name (about $minutes min at full scale)"
    eval "$command" 2>&1 | tee -a "$ROOT/$name.log"
    touch "$ROOT/done/$name"
done
$(nano report) --shipped "$ROOT/shipped.json" --arms "$ROOT/tools.json" "$ROOT/none.json" "$ROOT/wide.json" --interventions "$ROOT/interventions.json" | tee "$ROOT/pictures.md"
$(video report) "$ROOT/video.json" | tee "$ROOT/videos.md"
