#!/usr/bin/env bash
# Everything that waits for a GPU, in one run of under ten minutes, or twelve where there
# are several; installs nothing.
#
#   benchmarks/gpu.sh FOLDER [OUT]
#
# FOLDER holds the data and weights of real_noise.py. Results are copied to OUT; those of
# real label noise have a folder of their own, so that none counts as measured before.
# Needs torch, timm, scikit-learn and skorch importable.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
folder=${1:?folder with data and weights}
out=${2:-}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
python=${PYTHON:-python3}

failed=0

part() {  # name, seconds, script and its arguments; one failure leaves the others to run
    echo "== $1"
    timeout "$2" "$python" -m "benchmarks.$3" "${@:4}" || { echo "FAILED: $1"; failed=1; }
}

vit=(--backbone vit_base_patch16_224 --input-size 224 --n 4096 --repeat 3)
part "correctness on CUDA" 100 gpu_checks
part "overhead over plain loops" 120 overhead "${vit[@]}"
part "feature pass and cache" 60 feature_pass "${vit[@]}"
part "costs per image" 50 plan
gpus=$("$python" -c "import torch; print(torch.cuda.device_count())")
if (( gpus > 1 )); then
    part "$gpus GPUs against one" 120 two_processes --backbone vit_base_patch16_224 \
        --input-size 224 --images 4096 --batch-size 64 --processes "$gpus"
fi
part "real label noise" 250 paper table2 --size small --assets "$folder" --seeds 1 \
    --results "${out:-benchmarks/results}/gpu" --noises worse \
    --backbones vit_tiny_patch16_224 --methods LP-GCE FFT-CE FFT-GCE "TURN*"
if [[ -n "$out" ]]; then
    cp benchmarks/results/*.json benchmarks/results/*.md "$out"/
fi
exit "$failed"
