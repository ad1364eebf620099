#!/usr/bin/env bash
# Everything that waits for a GPU, in one run of under ten minutes; installs nothing.
#
#   benchmarks/gpu.sh FOLDER [OUT]
#
# FOLDER holds the data and weights of real_noise.py. Results are copied to OUT.
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
    timeout "$2" "$python" "${@:3}" || { echo "FAILED: $1"; failed=1; }
}

vit=(--backbone vit_base_patch16_224 --input-size 224 --n 4096 --repeat 3)
part "correctness on CUDA" 100 benchmarks/gpu_checks.py
part "overhead over plain loops" 120 benchmarks/overhead.py "${vit[@]}"
part "feature pass and cache" 60 benchmarks/feature_pass.py "${vit[@]}"
part "costs per image" 50 benchmarks/plan.py
part "real label noise" 250 benchmarks/real_noise.py "$folder" --size full \
    --backbones vit_tiny_patch16_224 --noise worse
if [[ -n "$out" ]]; then
    cp benchmarks/results/*.json benchmarks/results/*.md "$out"/
fi
exit "$failed"
