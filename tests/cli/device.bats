# -ngl and the like: without a device, and with one that the tests emulate.

setup_file() {
    export MODEL=$BATS_FILE_TMPDIR/mini.gguf
    zstd -q -d -o "$MODEL" samples/q3n-mini-bf16.gguf.zst
}

setup() {
    cd "$BATS_TEST_TMPDIR" || exit
    export CUDA_VISIBLE_DEVICES=
}

# Ends with a status, and says something.
refused() {
    run "${@:3}"
    [ "$status" -eq "$1" ] && [[ $output == *"$2"* ]] || { echo "$output"; return 1; }
}

member() { python3 -c 'import json, sys; print(eval("json.load(sys.stdin)" + sys.argv[1]))' "$1"; }

@test "without a device auto is the CPU, and --plan says why" {
    q3n-run -m "$MODEL" -p one -n 2 --temp 0 >auto 2>log
    q3n-run -m "$MODEL" -p one -n 2 --temp 0 -ngl 0 >none 2>log0
    cmp auto none
    run grep -ciE 'cuda|device' log
    [ "$output" = 0 ]
    q3n-run -m "$MODEL" --plan --json >plan.json
    [ "$(member '["device"]["layers"]' <plan.json)" = 0 ]
    [[ $(member '["device"]["none"]' <plan.json) == *CUDA* ]]
    q3n-run -m "$MODEL" --plan -ngl auto | grep -q '^device   none: .*CUDA'
    run grep -c device <(q3n-run -m "$MODEL" --plan -ngl 0)
    [ "$output" = 0 ]
}

@test "without a device what needs one is refused, with the reason" {
    for n in 1 9 all; do refused 1 CUDA q3n-run -m "$MODEL" -p one -ngl $n; done
    refused 1 CUDA q3n-bench -m "$MODEL" -n 1 -p 0 -ngl all
    refused 1 CUDA q3n-serve -m "$MODEL" --port 0 -ngl 2
    refused 1 "no effect without a device" q3n-run -m "$MODEL" -p one --vram 1G
    refused 1 "no effect without a device" q3n-run -m "$MODEL" -p one -nkvo
    refused 1 "no effect without a device" q3n-run -m "$MODEL" -p one -mg 1
    refused 1 "no effect without a device" q3n-run -m "$MODEL" -p one --device-misses upload
    refused 1 "no effect without a device" q3n-run -m "$MODEL" -p one --device-uploads 2
    refused 1 "no effect without a device" q3n-run -m "$MODEL" -p one -ot 'exps=CUDA0'
    refused 1 "no effect without a device" q3n-run -m "$MODEL" -p one -ot 'blk\.7\.attn=CUDA0'
}

@test "values that are wrong" {
    for n in -1 1x "" most; do refused 2 "a number, all or auto" q3n-run -m "$MODEL" -p one --n-gpu-layers="$n"; done
    refused 2 "0 or more" q3n-run -m "$MODEL" -p one --main-gpu=-1
    refused 2 "auto, upload or compute" q3n-run -m "$MODEL" -p one --device-misses=download
    for n in 0 -1 2x ""; do refused 2 "a number from 1 on" q3n-run -m "$MODEL" -p one --device-uploads="$n"; done
    refused 1 "no effect if nothing is computed on a device" q3n-run -m "$MODEL" -p one -ngl 0 --vram 1G
    refused 1 "MMAP, DISK or CUDA0" q3n-run -m "$MODEL" -p one -ot 'exps=CUDA1'
    refused 2 "compares layers" q3n-eval -m "$MODEL" --base-model "$MODEL" -f "$MODEL" -ngl 1
}

# ---- With a device -----------------------------------------------------------------------

emulated() { "$BUILD/tests/emulated/q3n-run" -m "$MODEL" "$@"; }
plan() { emulated --plan --json "$@" >plan.json; }
device() { member "[\"device\"][\"$1\"]" <plan.json; }

@test "--plan: layers, experts and keys where there is room" {
    [ -x "$BUILD/tests/emulated/q3n-run" ] || skip "no emulated device for this machine"
    plan
    [ "$(device layers)" = 8 ] && [ "$(device expert_layers)" = 8 ] && [ "$(device output)" = True ]
    [ "$(member '["kv_bytes"]' <plan.json)" = 0 ] && [ "$(member '["state_bytes"]' <plan.json)" = 0 ]
    # Numbers, as llama.cpp counts them: the output is the first.
    plan -ngl 3
    [ "$(device layers)" = 2 ] && [ "$(device expert_layers)" = 2 ] && [ "$(device output)" = True ]
    plan -ngl 1
    [ "$(device layers)" = 0 ] && [ "$(device output)" = True ]
    plan -ngl 99 -cmoe
    [ "$(device layers)" = 8 ] && [ "$(device expert_layers)" = 0 ] && [ "$(device expert_bytes)" = 0 ]
    plan -ngl all -ncmoe 3
    [ "$(device expert_layers)" = 5 ]
    plan -nkvo
    [ "$(device kv_bytes)" = 0 ] && [ "$(device state_bytes)" -gt 0 ]
    [ "$(member '["kv_bytes"]' <plan.json)" -gt 0 ]
    plan -ot 'blk\.[01]\.(attn|ssm)=CPU,^output=CPU'
    [ "$(device layers)" = 6 ] && [ "$(device output)" = False ]
    emulated --plan >table
    grep -qE '^decode +[0-9.]+ tok/s at most' table
    plan -ot 'exps=CPU'
    [ "$(member '["decode_tokens_per_second_at_most"] > 0' <plan.json)" = True ]
    [ "$(member '["token_host_bytes"] > 0' <plan.json)" = True ]
    grep -q '^8 layers, output ' table
    grep -q '^experts of 8 layers ' table
}

@test "--vram bounds what is taken, and what does not fit is refused before" {
    [ -x "$BUILD/tests/emulated/q3n-run" ] || skip "no emulated device for this machine"
    local last=-1 bytes
    for mib in 40 60 80 120 200; do
        plan --vram ${mib}M
        bytes=$(member '["device"]' <plan.json |
            python3 -c 'import ast; d = ast.literal_eval(input()); print(sum(d[k + "_bytes"] for k in ("dense", "expert", "kv", "state", "buffer")))')
        [ "$bytes" -le $((mib << 20)) ]
        [ "$(device expert_layers)" -ge "$last" ]
        last=$(device expert_layers)
    done
    [ "$last" -gt 0 ]
    refused 1 "do not fit into the device's memory" emulated --plan -ngl all --vram 8M
    refused 1 "do not fit into the device's memory" emulated --plan --vram 60M -ot 'exps=CUDA0'
    refused 1 "in one place" emulated --plan -ot 'attn_q\.=CPU'
    refused 1 "no device 7" emulated --plan -mg 7
}

@test "a text with a device" {
    [ -x "$BUILD/tests/emulated/q3n-run" ] || skip "no emulated device for this machine"
    emulated -p one -n 1 --temp 0 -ngl 2 --json >text 2>json
    [ -s text ]
    [ "$(member '["device"]["layers"]' <json)" = 1 ]
}

@test "q3n-bench measures the device and holds tests against it" {
    [ -x "$BUILD/tests/emulated/q3n-bench" ] || skip "no emulated device for this machine"
    bench() { "$BUILD/tests/emulated/q3n-bench" -m "$MODEL" -p 0 -n 1 -r 1 --no-warmup "$@"; }
    bench -ngl all -o json >all.json
    [ "$(member '[0]["backends"]' <all.json)" = CUDA ]
    [ "$(member '[0]["n_gpu_layers"]' <all.json)" = 9 ]
    [ "$(member '[0]["device_memory_gb_s"]' <all.json)" = "$(member '[0]["memory_gb_s"]' <all.json)" ]
    bench -ngl all --vram 24M >part 2>log
    grep -q 'slots; memory read at [0-9.]* GB/s, copied to at' part
    grep -q '% of experts were in slots' part
}

@test "experts that are missing are copied or computed here, for the same text" {
    [ -x "$BUILD/tests/emulated/q3n-run" ] || skip "no emulated device for this machine"
    gguf-quant -q "$MODEL" q8.gguf Q8_0
    for how in upload compute; do
        emulated -m q8.gguf -p one -n 1 --temp 0 --vram 40M --device-misses $how --json >$how 2>json
        [ "$(member '["device_computed"] > 0' <json)" = "$([ $how = compute ] && echo True || echo False)" ]
        [ "$(member '["device_bytes"] > 0' <json)" = True ]
    done
    cmp upload compute
    emulated -m q8.gguf -p one -n 1 --temp 0 --vram 40M --device-uploads 1 --json >limited 2>json
    [ "$(member '["device_computed"] > 0' <json)" = True ]
    cmp upload limited
    refused 1 "no effect where none are in slots" emulated -p one --device-misses upload
    refused 1 "no effect where none are in slots" emulated -p one --device-uploads 2
    refused 1 "where it is said who computes" emulated -m q8.gguf -p one --vram 40M --device-uploads 2 --device-misses upload
    refused 1 "experts that are floats" emulated -p one --vram 60M --device-misses compute
    refused 1 "experts that are floats" emulated -p one --vram 60M --device-uploads 2
}
