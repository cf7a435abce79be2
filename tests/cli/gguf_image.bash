# gguf_image.bash - writes small GGUF files byte by byte, for tests of unusual ones.
#
#   { gguf_head 3 TENSORS KEYS; gguf_key_u32 general.alignment 64; gguf_tensor w 0 0 8; } |
#       gguf_pad 64 >file

le() { # bytes, value: a little-endian integer
    local i byte out=
    for ((i = 0; i < $1; i++)); do
        printf -v byte '\\x%02x' $((($2 >> (8 * i)) & 255))
        out+=$byte
    done
    printf %b "$out"
}
gguf_string() { le 8 ${#1}; printf '%s' "$1"; }
gguf_head() { printf GGUF; le 4 "$1"; le 8 "$2"; le 8 "$3"; }      # version, tensors, keys
gguf_key_u32() { gguf_string "$1"; le 4 4; le 4 "$2"; }            # key, value
gguf_key_string() { gguf_string "$1"; le 4 8; gguf_string "$2"; }
gguf_key_u32s() { # key, values...
    gguf_string "$1"; le 4 9; le 4 4; le 8 $(($# - 1))
    local v; for v in "${@:2}"; do le 4 "$v"; done
}
gguf_tensor() { # name, type id, offset, ne...
    gguf_string "$1"
    le 4 $(($# - 3))
    local d; for d in "${@:4}"; do le 8 "$d"; done
    le 4 "$2"; le 8 "$3"
}
gguf_pad() { # alignment: pass on, with zeros up to a multiple
    local tmp; tmp=$(mktemp)
    cat >"$tmp"
    truncate -s "%$1" "$tmp"
    cat "$tmp"
    rm -f "$tmp"
}
poke() { # file, offset, bytes as printf takes them
    printf %b "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
# Byte at which a tensor's data begins, from gguf-inspect.
data_at() { gguf-inspect "$1" --json --tensors "^$2\$" | sed -n 's/ *"offset": \([0-9]*\).*/\1/p'; }
