/* pack_open.c - opening an expert pack: every field of header and tables is checked once
 * here.  Reading and hashing records is pack_record.c's work. */
#include "bytes.h"
#include "map.h"
#include "pack.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A field must have the one value that the format allows. */
static int expect(uint64_t found, uint64_t expected, uint64_t at, const char *what,
                  ggf_error *err)
{
    if (found == expected) return 0;
    return ggf_fail(err, GGF_E_FORMAT, at, "%s is %" PRIu64 ", expected %" PRIu64, what,
                    found, expected);
}

static int expect_zeros(const uint8_t *p, uint64_t from, uint64_t to, uint64_t base,
                        ggf_error *err)
{
    for (uint64_t i = from; i < to; i++)
        if (p[i])
            return ggf_fail(err, GGF_E_FORMAT, base + i,
                            "a reserved byte is 0x%02x, expected 0", p[i]);
    return 0;
}

/* a + b rounded up to the alignment, held to the file's size. */
static int next_section(uint64_t a, uint64_t b, uint64_t size, uint64_t *out)
{
    return add_u64(a, b, out) && align_u64(*out, PACK_ALIGNMENT, out) && *out <= size
               ? 0
               : -1;
}

/* The sections follow each other without gaps, so each offset has one right value. */
static int check_sections(ggf_pack *p, uint64_t size, ggf_error *err)
{
    const uint8_t *h = p->bytes;
    struct ggf_pack_info *in = &p->info;
    in->n_layers = load_u32(h + H_N_LAYERS);
    in->n_records = load_u64(h + H_N_RECORDS);
    if (in->n_layers == 0 || in->n_layers > PACK_MAX_LAYERS)
        return ggf_fail(err, GGF_E_FORMAT, H_N_LAYERS,
                        "pack of %" PRIu32 " layers, expected 1 to %u", in->n_layers,
                        PACK_MAX_LAYERS);
    if (in->n_records > size / PACK_RECORD_BYTES)
        return ggf_fail(err, GGF_E_FORMAT, H_N_RECORDS,
                        "header claims %" PRIu64 " records, more than the file can hold",
                        in->n_records);
    uint64_t index, data, end;
    if (next_section(PACK_HEADER_BYTES, (uint64_t)in->n_layers * PACK_LAYER_BYTES, size,
                     &index) ||
        next_section(index, in->n_records * PACK_RECORD_BYTES, size, &data))
        return ggf_fail(err, GGF_E_FORMAT, H_N_RECORDS,
                        "the tables do not fit into the file's %" PRIu64 " bytes", size);
    p->index_offset = index;
    in->data_offset = data;
    p->source_offset = load_u64(h + H_SOURCE_OFFSET);
    p->source_stored = load_u64(h + H_SOURCE_STORED);
    p->source_raw = load_u64(h + H_SOURCE_RAW);
    int s = expect(load_u64(h + H_LAYERS_OFFSET), PACK_HEADER_BYTES, H_LAYERS_OFFSET,
                   "the layer table's offset", err);
    if (!s)
        s = expect(load_u64(h + H_INDEX_OFFSET), index, H_INDEX_OFFSET,
                   "the index's offset", err);
    if (!s)
        s = expect(load_u64(h + H_DATA_OFFSET), data, H_DATA_OFFSET,
                   "the first record's offset", err);
    if (s) return s;
    if (p->source_offset < data || p->source_offset % PACK_ALIGNMENT ||
        next_section(p->source_offset, p->source_stored, size, &end) || end != size)
        return ggf_fail(err, GGF_E_FORMAT, H_SOURCE_OFFSET,
                        "the source section (%" PRIu64 " bytes at %" PRIu64
                        ") does not end the file of %" PRIu64 " bytes",
                        p->source_stored, p->source_offset, size);
    if (p->source_raw > PACK_MAX_SOURCE)
        return ggf_fail(err, GGF_E_FORMAT, H_SOURCE_RAW,
                        "the source section claims %" PRIu64 " bytes, at most %llu are "
                        "allowed",
                        p->source_raw, PACK_MAX_SOURCE);
    return 0;
}

static int check_header(ggf_pack *p, uint64_t size, ggf_error *err)
{
    const uint8_t *h = p->bytes;
    if (size < sizeof PACK_MAGIC - 1 || memcmp(h, PACK_MAGIC, sizeof PACK_MAGIC - 1) != 0)
        return ggf_fail(err, GGF_E_FORMAT, 0,
                        "not an expert pack: does not start with 'XPACK'");
    if (size < PACK_HEADER_BYTES)
        return ggf_fail(err, GGF_E_FORMAT, size,
                        "file ends inside the header: %" PRIu64 " bytes, expected %d",
                        size, PACK_HEADER_BYTES);
    struct ggf_pack_info *in = &p->info;
    in->version = load_u32(h + H_VERSION);
    in->alignment = load_u32(h + H_ALIGNMENT);
    in->file_size = size;
    in->zstd_level = (int32_t)load_u32(h + H_ZSTD_LEVEL);
    in->root = h + H_ROOT;
    int s = expect(in->version, PACK_VERSION, H_VERSION, "the pack's version", err);
    if (!s) s = expect(in->alignment, PACK_ALIGNMENT, H_ALIGNMENT, "the alignment", err);
    if (!s) s = expect(load_u32(h + H_FLAGS), 0, H_FLAGS, "the header's flags", err);
    if (!s)
        s = expect(size, load_u64(h + H_FILE_SIZE), H_FILE_SIZE, "the size of the file",
                   err);
    if (!s) s = expect_zeros(h, H_ZSTD_LEVEL + 4, H_ROOT, 0, err);
    if (!s) s = expect_zeros(h, H_END, PACK_HEADER_BYTES, 0, err);
    return s ? s : check_sections(p, size, err);
}

int pack_root(uint8_t out[GGF_SHA256_BYTES], const uint8_t *header, const uint8_t *layers,
              uint64_t layers_bytes, const uint8_t *index, uint64_t index_bytes,
              const uint8_t *source, uint64_t source_bytes, ggf_error *err)
{
    static const uint8_t zeros[GGF_SHA256_BYTES];
    ggf_sha256 *h = ggf_sha256_new();
    if (!h) return ggf_no_memory(err);
    ggf_sha256_update(h, header, H_ROOT);
    ggf_sha256_update(h, zeros, sizeof zeros);
    ggf_sha256_update(h, header + H_ROOT + sizeof zeros,
                      PACK_HEADER_BYTES - H_ROOT - sizeof zeros);
    ggf_sha256_update(h, layers, layers_bytes);
    ggf_sha256_update(h, index, index_bytes);
    ggf_sha256_update(h, source, source_bytes);
    ggf_sha256_final(h, out);
    ggf_sha256_free(h);
    return 0;
}

static int check_root(const ggf_pack *p, ggf_error *err)
{
    uint8_t root[GGF_SHA256_BYTES];
    const uint8_t *b = p->bytes;
    const int s = pack_root(root, b, b + PACK_HEADER_BYTES,
                            (uint64_t)p->info.n_layers * PACK_LAYER_BYTES,
                            b + p->index_offset, p->info.n_records * PACK_RECORD_BYTES,
                            b + p->source_offset, p->source_stored, err);
    if (s) return s;
    if (!memcmp(root, p->info.root, sizeof root)) return 0;
    return ggf_fail(
        err, GGF_E_HASH, GGF_NO_OFFSET,
        "header or tables of the pack are damaged: they do not match its root "
        "hash");
}

static int load_layers(ggf_pack *p, ggf_error *err)
{
    uint64_t next = 0;
    p->layers = calloc(p->info.n_layers, sizeof *p->layers);
    if (!p->layers) return ggf_no_memory(err);
    for (uint32_t i = 0; i < p->info.n_layers; i++) {
        const uint64_t at = PACK_HEADER_BYTES + (uint64_t)i * PACK_LAYER_BYTES;
        const uint8_t *e = p->bytes + at;
        struct ggf_pack_layer *l = &p->layers[i];
        *l = (struct ggf_pack_layer){ .block = load_u32(e + L_BLOCK),
                                      .n_expert = load_u32(e + L_N_EXPERT),
                                      .first_record = load_u64(e + L_FIRST_RECORD),
                                      .n_embd = load_u64(e + L_N_EMBD),
                                      .n_ff = load_u64(e + L_N_FF),
                                      .fused = load_u32(e + L_FLAGS) & LAYER_FUSED };
        if (load_u32(e + L_FLAGS) & ~(uint32_t)LAYER_FUSED)
            return ggf_fail(err, GGF_E_FORMAT, at + L_FLAGS,
                            "unknown layer flags 0x%" PRIx32, load_u32(e + L_FLAGS));
        if (i && l->block <= p->layers[i - 1].block)
            return ggf_fail(err, GGF_E_FORMAT, at,
                            "block %" PRIu32 " follows block %" PRIu32
                            ", expected ascending numbers",
                            l->block, p->layers[i - 1].block);
        if (l->n_expert == 0)
            return ggf_fail(err, GGF_E_FORMAT, at + L_N_EXPERT, "a layer has no experts");
        if (l->n_embd - 1 >= PACK_MAX_RECORD || l->n_ff - 1 >= PACK_MAX_RECORD)
            return ggf_fail(err, GGF_E_FORMAT, at + L_N_EMBD,
                            "experts of %" PRIu64 " x %" PRIu64 " elements", l->n_embd,
                            l->n_ff);
        int s = expect(l->first_record, next, at + L_FIRST_RECORD,
                       "the layer's first record", err);
        if (!s) s = expect_zeros(e, L_FLAGS + 4, L_FIRST_RECORD, at, err);
        if (!s) s = expect_zeros(e, L_END, PACK_LAYER_BYTES, at, err);
        if (s) return s;
        next += l->n_expert;
    }
    return expect(p->info.n_records, next, H_N_RECORDS, "the number of records", err);
}

int pack_place_parts(struct ggf_pack_record *r, const struct ggf_pack_layer *layer,
                     uint64_t at, ggf_error *err)
{
    uint64_t end = 0;
    for (int part = 0; part < GGF_PARTS; part++) {
        const struct ggf_type_info *type = ggf_type_info(r->type[part]);
        const uint64_t row = part == GGF_DOWN ? layer->n_ff : layer->n_embd;
        const uint64_t rows = part == GGF_DOWN ? layer->n_embd : layer->n_ff;
        if (!type)
            return ggf_fail(err, GGF_E_FORMAT, at, "type id %" PRIu32 " is not known",
                            r->type[part]);
        if (row % type->block)
            return ggf_fail(err, GGF_E_FORMAT, at,
                            "rows of %" PRIu64
                            " elements, expected a multiple of %" PRIu32 " for type %s",
                            row, type->block, type->name);
        /* row <= 2^30 and a block is at most 292 bytes: only the last product can grow */
        if (!mul_u64(row / type->block * type->block_bytes, rows, &r->part_bytes[part]) ||
            r->part_bytes[part] > PACK_MAX_RECORD)
            return ggf_fail(err, GGF_E_FORMAT, at, "an expert of more than %llu bytes",
                            PACK_MAX_RECORD);
        r->part_offset[part] = end;
        align_u64(end + r->part_bytes[part], PACK_ALIGNMENT, &end);
    }
    r->raw_bytes = end;
    if (end > PACK_MAX_RECORD)
        return ggf_fail(err, GGF_E_FORMAT, at, "an expert of more than %llu bytes",
                        PACK_MAX_RECORD);
    return 0;
}

/* One index entry, which must lie at `*next`; that is moved behind it. */
static int load_record(ggf_pack *p, struct ggf_pack_record *r, uint64_t at,
                       uint64_t *next, ggf_error *err)
{
    const uint8_t *e = p->bytes + at;
    const uint32_t flags = load_u32(e + R_FLAGS);
    r->offset = load_u64(e + R_OFFSET);
    r->stored_bytes = load_u64(e + R_STORED);
    r->compressed = flags & RECORD_ZSTD;
    r->sha256 = e + R_SHA256;
    for (int i = 0; i < GGF_PARTS; i++) r->type[i] = load_u32(e + R_TYPE + 4 * i);
    if (flags & ~(uint32_t)RECORD_ZSTD)
        return ggf_fail(err, GGF_E_FORMAT, at + R_FLAGS,
                        "unknown record flags 0x%" PRIx32, flags);
    int s = pack_place_parts(r, &p->layers[r->layer], at + R_TYPE, err);
    for (int i = 0; i < GGF_PARTS && !s; i++)
        s = expect(load_u64(e + R_PART_OFFSET + 8 * i), r->part_offset[i],
                   at + R_PART_OFFSET + 8 * (uint64_t)i, "a matrix's offset", err);
    if (!s) s = expect(load_u64(e + R_RAW), r->raw_bytes, at + R_RAW, "raw length", err);
    if (!s) s = expect(r->offset, *next, at + R_OFFSET, "the record's offset", err);
    if (!s) s = expect_zeros(e, R_END, R_SHA256, at, err);
    if (s) return s;
    if (r->compressed ? r->stored_bytes == 0 || r->stored_bytes >= r->raw_bytes
                      : r->stored_bytes != r->raw_bytes)
        return ggf_fail(err, GGF_E_FORMAT, at + R_STORED,
                        "a record of %" PRIu64 " bytes is stored in %" PRIu64,
                        r->raw_bytes, r->stored_bytes);
    if (next_section(r->offset, r->stored_bytes, p->source_offset, next))
        return ggf_fail(err, GGF_E_FORMAT, at + R_STORED,
                        "a record reaches behind byte %" PRIu64 ", where records end",
                        p->source_offset);
    r->stored = p->bytes + r->offset;
    return 0;
}

static int load_records(ggf_pack *p, ggf_error *err)
{
    struct ggf_pack_info *in = &p->info;
    uint64_t next = in->data_offset, at = p->index_offset;
    p->records = calloc(in->n_records, sizeof *p->records);
    if (!p->records) return ggf_no_memory(err);
    for (uint32_t l = 0; l < in->n_layers; l++) {
        for (uint32_t e = 0; e < p->layers[l].n_expert; e++, at += PACK_RECORD_BYTES) {
            struct ggf_pack_record *r = &p->records[p->layers[l].first_record + e];
            r->layer = l;
            r->expert = e;
            const int s = load_record(p, r, at, &next, err);
            if (s) return s;
            in->stored_bytes += r->stored_bytes;
            in->raw_bytes += r->raw_bytes;
            in->n_compressed += r->compressed;
            if (r->raw_bytes > in->max_raw_bytes) in->max_raw_bytes = r->raw_bytes;
            if (r->stored_bytes > in->max_stored_bytes)
                in->max_stored_bytes = r->stored_bytes;
        }
    }
    return expect(p->source_offset, next, H_SOURCE_OFFSET, "the source section's offset",
                  err);
}

/* p->bytes is set: check and load everything. */
static int load(ggf_pack *p, uint64_t size, ggf_error *err)
{
    int s = check_header(p, size, err);
    if (!s) s = check_root(p, err);
    if (!s) s = load_layers(p, err);
    return s ? s : load_records(p, err);
}

int ggf_pack_open(ggf_pack **out, const char *path, ggf_error *err)
{
    *out = NULL;
    ggf_pack *p = calloc(1, sizeof *p);
    if (!p) return ggf_no_memory(err);
    p->path = strdup(path);
    ggf_error why = { 0 };
    int s =
        p->path ? map_file(&p->bytes, &p->info.file_size, path, err) : ggf_no_memory(err);
    p->map = (void *)p->bytes;
    if (!s && (s = load(p, p->info.file_size, &why)) && err) {
        *err = why;
        snprintf(err->message, sizeof err->message, "%.150s: %.240s", path, why.message);
    }
    p->info.path = p->path;
    if (s) ggf_pack_close(p);
    else *out = p;
    return s;
}

int ggf_pack_open_buffer(ggf_pack **out, const void *bytes, size_t len, ggf_error *err)
{
    *out = NULL;
    ggf_pack *p = calloc(1, sizeof *p);
    if (!p) return ggf_no_memory(err);
    p->bytes = bytes;
    p->info.path = "";
    const int s = load(p, len, err);
    if (s) ggf_pack_close(p);
    else *out = p;
    return s;
}

void ggf_pack_close(ggf_pack *p)
{
    if (!p) return;
    if (p->map) munmap(p->map, p->info.file_size);
    free(p->path);
    free(p->layers);
    free(p->records);
    free(p);
}

const struct ggf_pack_info *ggf_pack_info(const ggf_pack *p) { return &p->info; }

const struct ggf_pack_layer *ggf_pack_layer(const ggf_pack *p, uint32_t layer)
{
    return layer < p->info.n_layers ? &p->layers[layer] : NULL;
}

int64_t ggf_pack_layer_of(const ggf_pack *p, uint32_t block)
{
    uint32_t low = 0, high = p->info.n_layers;
    while (low < high) {
        const uint32_t mid = low + (high - low) / 2;
        if (p->layers[mid].block < block) low = mid + 1;
        else high = mid;
    }
    return low < p->info.n_layers && p->layers[low].block == block ? (int64_t)low : -1;
}

const struct ggf_pack_record *ggf_pack_record(const ggf_pack *p, uint32_t layer,
                                              uint32_t expert)
{
    if (layer >= p->info.n_layers || expert >= p->layers[layer].n_expert) return NULL;
    return &p->records[p->layers[layer].first_record + expert];
}
