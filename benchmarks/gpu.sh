#!/usr/bin/env bash
# Tests and benchmarks on an NVIDIA GPU, in at most ten minutes. From the root of the repository:
#
#     bash benchmarks/gpu.sh
#
# The python found first must have torch and triton. The results are CSV files, a figure and the verdict on every aim
# (benchmarks/judge_aims.py) in ${OUT:-benchmarks/results}/GPU. The exit code is 1 if a test failed.

set -u
cd "$(dirname "$0")/.." || exit 2
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
unset TRITON_INTERPRET # the kernels are to run on the GPU

gpu=$(python -c 'import re, torch; print(re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()))') || {
    echo "torch finds no NVIDIA GPU" >&2
    exit 2
}
results=${OUT:-benchmarks/results}/$gpu
mkdir -p "$results"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for module in numpy typer rich einops safetensors matplotlib pytest hypothesis pytest_timeout pytest_benchmark; do
    python -c "import $module" 2>/dev/null || timeout 20 python -m pip install -q --no-deps "${module//_/-}" ||
        echo "no $module here: what needs it will fail" >&2
done

failed=0

# run_tests SECONDS: all that need a GPU, in eight processes, as most of their time is compilation on the host
run_tests() {
    local limit=$1 shards=8 shard
    local -a pids=()
    echo "== tests"
    python -m pytest --collect-only -q -m gpu 2>"$work/collect.err" | grep '::' >"$work/ids"
    if [ ! -s "$work/ids" ]; then
        cat "$work/collect.err"
        echo "no tests were found" >&2
        failed=1
        return
    fi
    for ((shard = 0; shard < shards; shard++)); do
        awk -v shards=$shards -v shard=$shard 'NR % shards == shard' "$work/ids" >"$work/ids.$shard"
        [ -s "$work/ids.$shard" ] || continue
        xargs -d '\n' -a "$work/ids.$shard" timeout -k 10 "$limit" python -m pytest -q -m gpu -p no:cacheprovider \
            -W ignore::pytest.PytestConfigWarning >"$work/tests.$shard" 2>&1 &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || failed=1
    done
    tail -n 3 "$work"/tests.?
    if [ $failed -ne 0 ]; then
        grep -hE '^(E |FAILED|ERROR)' "$work"/tests.? | head -n 60
    fi
}

# bench SECONDS NAME ARGUMENT...: one benchmark; stopped by Ctrl-C at its limit, it keeps what it has measured
bench() {
    local limit=$1 name=$2
    shift 2
    echo "== benchmark: $name"
    COLUMNS=120 timeout -s INT -k 10 "$limit" python -c 'from attnrec.cli.main import main; main()' bench \
        --device cuda --precision bf16 --dim 64 --seconds 0.3 --out "$work/$name" "$@" ||
        echo "the benchmark '$name' did not end well (code $?)" >&2
    if [ -f "$work/$name/bench.csv" ]; then
        cp "$work/$name/bench.csv" "$results/$name.csv"
    fi
    if [ -f "$work/$name/time-by-length.png" ]; then
        cp "$work/$name/time-by-length.png" "$results/$name.png"
    fi
}

torch_ways=()
for way in mask flash efficient cudnn flex nested varlen; do
    torch_ways+=(--attention "torch:$way")
done

bench 60 full-200 --seq-len 200 --batch 2048 --attention triton --attention sdpa --attention torch:flash \
    --attention torch:cudnn --attention torch:varlen
bench 80 ml-1m-200 --lengths ml-1m --seq-len 200 --batch 2048 --attention triton --attention sdpa "${torch_ways[@]}"
bench 80 games-200 --lengths games --seq-len 200 --batch 2048 --attention triton --attention sdpa "${torch_ways[@]}"
bench 60 full-long --seq-len 1024,2048,4096 --batch 128 --heads 2 --attention triton --attention torch:flash \
    --attention torch:cudnn --attention torch:varlen
bench 60 awr --seq-len 1024,2048,4096 --batch 16 --heads 2 --attention awr:impl=triton --attention awr \
    --attention awr:impl=reference --attention sdpa

run_tests 200

echo "== aims"
python benchmarks/judge_aims.py "$results" | tee "$results/aims.txt"
exit $failed
