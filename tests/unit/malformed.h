/* malformed.h - every kind of broken GGUF file we know of.
 *
 * Each case is a small file built field by field; the offset the error must name is
 * where it called mark().  Add a case: write a function, add a line to the table. */
#ifndef TEST_MALFORMED_H
#define TEST_MALFORMED_H

#include "image.h"

/* ---- The first 24 bytes ---- */

static void empty_file(struct image *f) { f->len = 0; }
static void three_bytes(struct image *f) { put(f, "GGU", 3); }

static void wrong_magic(struct image *f)
{
    put(f, "GGJT", 4);
    put_u32(f, 3);
    put_u64(f, 0);
    put_u64(f, 0);
}

static void head_of_version(struct image *f, uint32_t version)
{
    put_head(f, version, 0, 0);
    f->mark = 4;
}

static void version_0(struct image *f) { head_of_version(f, 0); }
static void version_1(struct image *f) { head_of_version(f, 1); }
static void version_4(struct image *f) { head_of_version(f, 4); }
static void big_endian_3(struct image *f) { head_of_version(f, 0x03000000); }
static void big_endian_2(struct image *f) { head_of_version(f, 0x02000000); }

static void head_of_counts(struct image *f, uint64_t tensors, uint64_t keys, size_t at)
{
    put_head(f, 3, tensors, keys);
    put_data(f, 1000);
    f->mark = at;
}

static void tensors_2_63(struct image *f) { head_of_counts(f, 1ull << 63, 0, 8); }
static void tensors_max(struct image *f) { head_of_counts(f, UINT64_MAX, 0, 8); }
static void tensors_too_many(struct image *f) { head_of_counts(f, 1000 / 33 + 1, 0, 8); }
static void keys_2_63(struct image *f) { head_of_counts(f, 0, 1ull << 63, 16); }
static void keys_too_many(struct image *f) { head_of_counts(f, 0, 1000 / 14 + 1, 16); }

/* ---- Keys ---- */

static void key_of_length(struct image *f, uint64_t len)
{
    put_head(f, 3, 0, 1);
    mark(f);
    put_u64(f, len);
    put_data(f, 70000);
}

static void key_empty(struct image *f)
{
    put_head(f, 3, 0, 1);
    mark(f);
    put_key_u32(f, "", 1);
}

static void key_too_long(struct image *f) { key_of_length(f, 65536); }
static void key_2_63(struct image *f) { key_of_length(f, 1ull << 63); }

static void key_past_the_end(struct image *f)
{
    put_head(f, 3, 0, 1);
    put_u64(f, 60000);
    mark(f);
    put_data(f, 100);
}

static void key_with_nul(struct image *f)
{
    put_head(f, 3, 0, 1);
    put_u64(f, 3);
    put(f, "a", 1);
    mark(f);
    put(f, "\0c", 2);
    put_u32(f, GGF_KV_U32);
    put_u32(f, 1);
}

static void key_with_newline(struct image *f)
{
    put_head(f, 3, 0, 1);
    put_u64(f, 4);
    put(f, "abc", 3);
    mark(f);
    put(f, "\n", 1);
    put_u32(f, GGF_KV_U32);
    put_u32(f, 1);
}

static void key_twice(struct image *f)
{
    put_head(f, 3, 0, 3);
    put_key_u32(f, "same", 1);
    put_key_u32(f, "other", 1);
    mark(f);
    put_key_u32(f, "same", 2);
}

static void value_of_type(struct image *f, uint32_t type)
{
    put_head(f, 3, 0, 1);
    put_string(f, "key");
    mark(f);
    put_u32(f, type);
    put_data(f, 64);
}

static void value_type_13(struct image *f) { value_of_type(f, 13); }
static void value_type_max(struct image *f) { value_of_type(f, UINT32_MAX); }

static void value_missing(struct image *f)
{
    put_head(f, 3, 0, 1);
    put_key(f, "key12", GGF_KV_U64);
    mark(f);
    put(f, "1234567", 7);
}

static void string_of_length(struct image *f, uint64_t len, bool at_length)
{
    put_head(f, 3, 0, 1);
    put_key(f, "text", GGF_KV_STRING);
    mark(f);
    put_u64(f, len);
    if (!at_length) mark(f);
    put_data(f, 100);
}

static void string_past_the_end(struct image *f) { string_of_length(f, 101, false); }
static void string_above_1gib(struct image *f)
{
    string_of_length(f, (1ull << 30) + 1, true);
}
static void string_2_63(struct image *f) { string_of_length(f, 1ull << 63, true); }
static void string_max(struct image *f) { string_of_length(f, UINT64_MAX, true); }

/* ---- Arrays ---- */

static void array_of(struct image *f, uint32_t elem_type, uint64_t count)
{
    put_head(f, 3, 0, 1);
    put_key(f, "list", GGF_KV_ARRAY);
    mark(f);
    put_u32(f, elem_type);
    put_u64(f, count);
    put_data(f, 100);
}

static void array_2_63(struct image *f) { array_of(f, GGF_KV_U8, 1ull << 63); }
static void array_2_63_u64(struct image *f) { array_of(f, GGF_KV_U64, 1ull << 61); }
static void array_2_30(struct image *f) { array_of(f, GGF_KV_U8, (1ull << 30) + 1); }
static void array_past_the_end(struct image *f) { array_of(f, GGF_KV_U32, 26); }
static void array_of_strings_2_62(struct image *f)
{
    array_of(f, GGF_KV_STRING, 1ull << 62);
}
static void array_of_strings(struct image *f) { array_of(f, GGF_KV_STRING, 13); }
static void array_nested(struct image *f) { array_of(f, GGF_KV_ARRAY, 1); }
static void array_of_type_13(struct image *f) { array_of(f, 13, 1); }
static void array_of_type_max(struct image *f) { array_of(f, UINT32_MAX, 1); }

static void string_in_array_past_the_end(struct image *f)
{
    put_head(f, 3, 0, 1);
    put_key_array(f, "words", GGF_KV_STRING, 2);
    put_string(f, "good");
    put_u64(f, 101);
    mark(f);
    put_data(f, 100);
}

/* ---- Alignment ---- */

static void alignment_of(struct image *f, uint32_t alignment)
{
    put_head(f, 3, 1, 1);
    mark(f);
    put_key_u32(f, "general.alignment", alignment);
    put_tensor(f, "a", 4, GGF_F32, 0);
    put_padding(f, 32);
    put_data(f, 32);
}

static void alignment_0(struct image *f) { alignment_of(f, 0); }
static void alignment_3(struct image *f) { alignment_of(f, 3); }
static void alignment_max(struct image *f) { alignment_of(f, UINT32_MAX); }

static void alignment_2_31(struct image *f)
{
    alignment_of(f, 0x80000000); /* a power of two, but the data would be at 2 GiB */
    f->mark = 0x80000000;
}

static void alignment_typed(struct image *f, uint32_t type, size_t bytes)
{
    put_head(f, 3, 0, 1);
    mark(f);
    put_key(f, "general.alignment", type);
    put(f, "\x20\0\0\0\0\0\0", bytes);
}

static void alignment_u16(struct image *f) { alignment_typed(f, GGF_KV_U16, 2); }
static void alignment_u64(struct image *f) { alignment_typed(f, GGF_KV_U64, 8); }
static void alignment_string(struct image *f)
{
    put_head(f, 3, 0, 1);
    mark(f);
    put_key_str(f, "general.alignment", "32");
}
static void alignment_array(struct image *f)
{
    put_head(f, 3, 0, 1);
    mark(f);
    put_key_array(f, "general.alignment", GGF_KV_U32, 1);
    put_u32(f, 32);
}

/* ---- Tensor names ---- */

static void tensor_named(struct image *f, const char *name, size_t len)
{
    put_head(f, 3, 1, 0);
    mark(f);
    put_bytes_string(f, name, len);
    put_u32(f, 1);
    put_u64(f, 4);
    put_u32(f, GGF_F32);
    put_u64(f, 0);
    put_padding(f, 32);
    put_data(f, 32);
}

static void name_empty(struct image *f) { tensor_named(f, "", 0); }

static void name_64(struct image *f)
{
    char name[64];
    memset(name, 'n', sizeof name);
    tensor_named(f, name, sizeof name);
}

static void name_with_nul(struct image *f)
{
    tensor_named(f, "ab\0c", 4);
    f->mark += 8 + 2;
}

static void name_with_escape(struct image *f)
{
    tensor_named(f, "\033[2J", 4);
    f->mark += 8;
}

static void name_with_delete(struct image *f)
{
    tensor_named(f, "abc\x7f", 4);
    f->mark += 8 + 3;
}

static void name_twice(struct image *f)
{
    put_head(f, 3, 2, 0);
    put_tensor(f, "same", 8, GGF_F32, 0);
    mark(f);
    put_tensor(f, "same", 8, GGF_F32, 32);
    put_padding(f, 32);
    put_data(f, 64);
}

/* ---- Shapes ---- */

static void shape(struct image *f, uint32_t n_dims, const uint64_t *ne, uint32_t type)
{
    put_head(f, 3, 1, 0);
    put_string(f, "t");
    mark(f);
    put_u32(f, n_dims);
    for (uint32_t i = 0; i < n_dims && i < 5; i++) put_u64(f, ne[i]);
    put_u32(f, type);
    put_u64(f, 0);
    put_padding(f, 32);
    put_data(f, 256);
}

/* The fault lies in dimension `bad`. */
static void bad_dim(struct image *f, uint32_t n_dims, const uint64_t *ne, uint32_t bad)
{
    shape(f, n_dims, ne, GGF_F32);
    f->mark += 4 + 8 * bad;
}

static void dims_5(struct image *f)
{
    shape(f, 5, (const uint64_t[]){ 1, 1, 1, 1, 1 }, GGF_F32);
}
static void dims_huge(struct image *f)
{
    shape(f, 0x7fffffff, (const uint64_t[]){ 1, 1, 1, 1, 1 }, GGF_F32);
}
static void dim0_zero(struct image *f) { bad_dim(f, 1, (const uint64_t[]){ 0 }, 0); }
static void dim1_zero(struct image *f) { bad_dim(f, 2, (const uint64_t[]){ 4, 0 }, 1); }
static void dim2_zero(struct image *f)
{
    bad_dim(f, 3, (const uint64_t[]){ 4, 1, 0 }, 2);
}
static void dim3_zero(struct image *f)
{
    bad_dim(f, 4, (const uint64_t[]){ 4, 1, 1, 0 }, 3);
}
static void dim_negative(struct image *f)
{
    bad_dim(f, 1, (const uint64_t[]){ 1ull << 63 }, 0);
}
static void dim_minus_one(struct image *f)
{
    bad_dim(f, 2, (const uint64_t[]){ 4, UINT64_MAX }, 1);
}
static void product_wraps_to_small(struct image *f)
{
    bad_dim(f, 3, (const uint64_t[]){ 1ull << 32, 1ull << 31, 4 }, 1);
}
static void product_int64_max_by_2(struct image *f)
{
    bad_dim(f, 4, (const uint64_t[]){ INT64_MAX, 2, 1, 1 }, 1);
}
static void bytes_wrap(struct image *f)
{
    shape(f, 1, (const uint64_t[]){ 1ull << 62 }, GGF_F32); /* 2^62 * 4 = 2^64 */
    f->mark += 4;
}
static void bytes_above_2_63(struct image *f)
{
    shape(f, 1, (const uint64_t[]){ 1ull << 61 }, GGF_F64); /* the first that fails */
    f->mark += 4;
}
static void row_not_whole_blocks(struct image *f)
{
    shape(f, 2, (const uint64_t[]){ 33, 32 }, GGF_Q8_0);
    f->mark += 4;
}
static void row_shorter_than_block(struct image *f)
{
    shape(f, 2, (const uint64_t[]){ 32, 8 }, GGF_Q4_K); /* 256 elements, but in 8 rows */
    f->mark += 4;
}

static void type_id(struct image *f, uint32_t id)
{
    shape(f, 1, (const uint64_t[]){ 256 }, id);
    f->mark += 4 + 8;
}

static void type_removed_4(struct image *f) { type_id(f, 4); }
static void type_removed_5(struct image *f) { type_id(f, 5); }
static void type_removed_31(struct image *f) { type_id(f, 31); }
static void type_removed_33(struct image *f) { type_id(f, 33); }
static void type_removed_36(struct image *f) { type_id(f, 36); }
static void type_removed_38(struct image *f) { type_id(f, 38); }
static void type_unknown_43(struct image *f) { type_id(f, 43); }
static void type_unknown_max(struct image *f) { type_id(f, UINT32_MAX); }

/* ---- Places in the data section ---- */

/* Two tensors of 32 bytes, the second at `offset`; room for four. */
static void second_at(struct image *f, uint64_t offset)
{
    put_head(f, 3, 2, 0);
    put_tensor(f, "a", 8, GGF_F32, 0);
    put_tensor(f, "b", 8, GGF_F32, offset);
    f->mark = f->len - 8;
    put_padding(f, 32);
    put_data(f, 128);
}

static void offset_misaligned(struct image *f) { second_at(f, 33); }
static void offset_overlapping(struct image *f) { second_at(f, 0); }
static void offset_gap(struct image *f) { second_at(f, 64); }
static void offset_beyond_file(struct image *f) { second_at(f, 1 << 20); }
static void offset_near_2_64(struct image *f) { second_at(f, UINT64_MAX - 31); }
static void offset_2_63(struct image *f) { second_at(f, 1ull << 63); }

static void first_not_at_0(struct image *f)
{
    put_head(f, 3, 1, 0);
    put_tensor(f, "a", 8, GGF_F32, 32);
    f->mark = f->len - 8;
    put_padding(f, 32);
    put_data(f, 64);
}

static void out_of_order(struct image *f)
{
    put_head(f, 3, 2, 0);
    put_tensor(f, "a", 8, GGF_F32, 32);
    f->mark = f->len - 8;
    put_tensor(f, "b", 8, GGF_F32, 0);
    put_padding(f, 32);
    put_data(f, 64);
}

static void data_cut_off(struct image *f)
{
    put_head(f, 3, 1, 0);
    put_tensor(f, "a", 16, GGF_F32, 0);
    put_padding(f, 32);
    mark(f);
    put_data(f, 63);
}

static void padding_overflows(struct image *f)
{
    put_head(f, 3, 1, 0);
    put_tensor(f, "a", INT64_MAX - 15, GGF_I8, 0); /* its end rounds up to 2^63 */
    f->mark = f->len - 8;
    put_padding(f, 32);
    put_data(f, 32);
}

static void offset_plus_size_overflows(struct image *f)
{
    put_head(f, 3, 2, 0);
    put_tensor(f, "a", INT64_MAX - 63, GGF_I8, 0);
    put_tensor(f, "b", 64, GGF_I8, INT64_MAX - 63);
    f->mark = f->len - 8;
    put_padding(f, 32);
    put_data(f, 32);
}

static void header_plus_offset_overflows(struct image *f)
{
    put_head(f, 3, 1, 0);
    put_tensor(f, "a", INT64_MAX - 63, GGF_I8, 0);
    put_padding(f, 32);
    mark(f);
    put_data(f, 32);
}

#define CASE(name, words)                                                                \
    {                                                                                    \
#name, name, words                                                               \
    }

static const struct {
    const char *name;
    void (*build)(struct image *f);
    const char *words; /* found in the message */
} cases[] = {
    CASE(empty_file, "file ends inside the magic"),
    CASE(three_bytes, "file ends inside the magic"),
    CASE(wrong_magic, "not a GGUF file"),
    CASE(version_0, "version 0, expected 2 or 3"),
    CASE(version_1, "version 1, expected 2 or 3"),
    CASE(version_4, "version 4, expected 2 or 3"),
    CASE(big_endian_3, "big-endian"),
    CASE(big_endian_2, "big-endian"),
    CASE(tensors_2_63, "tensor count"),
    CASE(tensors_max, "tensor count"),
    CASE(tensors_too_many, "tensor count"),
    CASE(keys_2_63, "key count"),
    CASE(keys_too_many, "key count"),
    CASE(key_empty, "key is empty"),
    CASE(key_too_long, "65536 bytes long"),
    CASE(key_2_63, "bytes long"),
    CASE(key_past_the_end, "file ends inside a key"),
    CASE(key_with_nul, "control character 0x00"),
    CASE(key_with_newline, "control character 0x0a"),
    CASE(key_twice, "twice: 'same'"),
    CASE(value_type_13, "value type 13"),
    CASE(value_type_max, "value type 4294967295"),
    CASE(value_missing, "file ends inside key12"),
    CASE(string_past_the_end, "file ends inside text"),
    CASE(string_above_1gib, "1073741825 bytes long"),
    CASE(string_2_63, "bytes long"),
    CASE(string_max, "bytes long"),
    CASE(array_2_63, "more than the file can hold"),
    CASE(array_2_63_u64, "more than the file can hold"),
    CASE(array_2_30, "more than the file can hold"),
    CASE(array_past_the_end, "more than the file can hold"),
    CASE(array_of_strings_2_62, "more than the file can hold"),
    CASE(array_of_strings, "more than the file can hold"),
    CASE(array_nested, "element type 9"),
    CASE(array_of_type_13, "element type 13"),
    CASE(array_of_type_max, "element type 4294967295"),
    CASE(string_in_array_past_the_end, "file ends inside words"),
    CASE(alignment_0, "general.alignment is 0"),
    CASE(alignment_3, "general.alignment is 3"),
    CASE(alignment_max, "general.alignment is 4294967295"),
    CASE(alignment_2_31, "but the file has only"),
    CASE(alignment_u16, "type u16, expected u32"),
    CASE(alignment_u64, "type u64, expected u32"),
    CASE(alignment_string, "type string, expected u32"),
    CASE(alignment_array, "type array, expected u32"),
    CASE(name_empty, "tensor name is empty"),
    CASE(name_64, "64 bytes long"),
    CASE(name_with_nul, "control character 0x00"),
    CASE(name_with_escape, "control character 0x1b"),
    CASE(name_with_delete, "control character 0x7f"),
    CASE(name_twice, "twice: 'same'"),
    CASE(dims_5, "has 5 dimensions"),
    CASE(dims_huge, "has 2147483647 dimensions"),
    CASE(dim0_zero, "dimension 0 of size 0"),
    CASE(dim1_zero, "dimension 1 of size 0"),
    CASE(dim2_zero, "dimension 2 of size 0"),
    CASE(dim3_zero, "dimension 3 of size 0"),
    CASE(dim_negative, "product of its dimensions overflows"),
    CASE(dim_minus_one, "product of its dimensions overflows"),
    CASE(product_wraps_to_small, "product of its dimensions overflows"),
    CASE(product_int64_max_by_2, "product of its dimensions overflows"),
    CASE(bytes_wrap, "size in bytes overflows"),
    CASE(bytes_above_2_63, "size in bytes overflows"),
    CASE(row_not_whole_blocks, "expected a multiple of 32 for type q8_0"),
    CASE(row_shorter_than_block, "expected a multiple of 256 for type q4_K"),
    CASE(type_removed_4, "type id 4,"),
    CASE(type_removed_5, "type id 5,"),
    CASE(type_removed_31, "type id 31,"),
    CASE(type_removed_33, "type id 33,"),
    CASE(type_removed_36, "type id 36,"),
    CASE(type_removed_38, "type id 38,"),
    CASE(type_unknown_43, "type id 43,"),
    CASE(type_unknown_max, "type id 4294967295,"),
    CASE(offset_misaligned, "expected a multiple of 32"),
    CASE(offset_overlapping, "data offset 0, expected 32"),
    CASE(offset_gap, "data offset 64, expected 32"),
    CASE(offset_beyond_file, "data offset 1048576, expected 32"),
    CASE(offset_near_2_64, "data offset 18446744073709551584, expected 32"),
    CASE(offset_2_63, "expected 32"),
    CASE(first_not_at_0, "data offset 32, expected 0"),
    CASE(out_of_order, "data offset 32, expected 0"),
    CASE(data_cut_off, "but the file has only"),
    CASE(padding_overflows, "offset and size overflow"),
    CASE(offset_plus_size_overflows, "offset and size overflow"),
    CASE(header_plus_offset_overflows, "offset and size overflow"),
};

#endif
