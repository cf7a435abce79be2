/* manifest.c - see manifest.h. */
#include "manifest.h"

#include "text.h"

#include <stdlib.h>
#include <string.h>

#define MAX_MANIFEST (256u << 20)

/* What follows the file's name in a label: "" or the tensor; NULL if it is another
 * file's. */
static const char *tensor_part(const char *label, const char *name)
{
    const size_t n = strlen(name);
    if (strncmp(label, name, n) != 0) return NULL;
    if (!label[n]) return label + n;
    return label[n] == ':' ? label + n + 1 : NULL;
}

static const char *tensor_of(const char *label, const char *file)
{
    const char *tensor = tensor_part(label, file);
    const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file;
    for (const char *p = label; !tensor && p; p = strchr(p, '/')) {
        p += *p == '/';
        tensor = tensor_part(p, base);
    }
    return tensor;
}

/* Cut a line into its three fields, in place; false if it has another form. */
static bool parse_line(char *line, const char *file, struct manifest_entry *e)
{
    char *digest = line + strcspn(line, " \t"), *label;
    if (!*digest) return false;
    *digest++ = 0;
    digest += strspn(digest, " \t");
    label = digest + strcspn(digest, " \t");
    if (!*label) return false;
    *label++ = 0;
    label += strspn(label, " \t");
    for (int kind = 0; kind < DIGEST_KINDS; kind++) {
        if (strcmp(line, digest_name(kind)) != 0) continue;
        *e = (struct manifest_entry){ kind, digest, tensor_of(label, file), false };
        return e->tensor != NULL;
    }
    return false;
}

static int compare(const void *a, const void *b)
{
    const struct manifest_entry *x = a, *y = b;
    return x->kind != y->kind ? (int)x->kind - (int)y->kind
                              : strcmp(x->tensor, y->tensor);
}

int manifest_read(struct manifest *m, const char *path, const char *file, ggf_error *err)
{
    size_t length;
    *m = (struct manifest){ .text = text_read(path, MAX_MANIFEST, &length, err) };
    if (!m->text) return GGF_E_IO;
    size_t lines = 1;
    for (const char *p = m->text; *p; p++) lines += *p == '\n';
    m->entries = calloc(lines, sizeof *m->entries);
    if (!m->entries) {
        manifest_free(m);
        return ggf_no_memory(err);
    }
    for (char *line = m->text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        line[strcspn(line, "\r")] = 0;
        struct manifest_entry *e = &m->entries[m->count];
        if (!parse_line(line, file, e)) continue;
        m->has[e->kind] = true;
        m->count++;
    }
    qsort(m->entries, m->count, sizeof *m->entries, compare);
    if (m->count) return 0;
    manifest_free(m);
    return ggf_fail(err, GGF_E_NOT_FOUND, GGF_NO_OFFSET, "%s has no line about %s", path,
                    file);
}

struct manifest_entry *manifest_find(const struct manifest *m, enum digest_kind kind,
                                     const char *tensor)
{
    const struct manifest_entry key = { .kind = kind, .tensor = tensor };
    return bsearch(&key, m->entries, m->count, sizeof key, compare);
}

void manifest_free(struct manifest *m)
{
    free(m->text);
    free(m->entries);
    *m = (struct manifest){ 0 };
}
