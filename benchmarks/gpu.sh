#!/usr/bin/env bash
# Everything that waits for a GPU, in one run of under ten minutes; installs nothing.
#
#   benchmarks/gpu.sh FOLDER [OUT]
#
# FOLDER holds the data and weights of real_noise.py. Results are copied to OUT.
# Needs torch, timm, scikit-learn and skorch importable.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:?folder with data and weights}
out=${2:-}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
python=${PYTHON:-python3}

echo "== correctness on CUDA"
timeout 120 "$python" benchmarks/gpu_checks.py
echo "== overhead over plain loops"
timeout 150 "$python" benchmarks/overhead.py --backbone vit_base_patch16_224 \
    --input-size 224 --n 4096 --repeat 3
echo "== real label noise"
timeout 300 "$python" benchmarks/real_noise.py "$folder" --size full \
    --backbones vit_tiny_patch16_224 --noise worse
if [[ -n "$out" ]]; then
    cp benchmarks/results/*.json benchmarks/results/*.md "$out"/
fi
