/* list-tensors.c - the smallest use of libgguf: open a model, print its tensors.
 *
 *     cc list-tensors.c $(pkg-config --cflags --libs libgguf) -o list-tensors
 *     ./list-tensors model.gguf */
#include <libgguf.h>

#include <inttypes.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: list-tensors MODEL.gguf\n");
        return 2;
    }
    /* header_only: the data is neither needed nor mapped, so a file of which only the
     * first megabytes were downloaded will do. */
    const struct ggf_open_options options = { .header_only = true };
    ggf_error err;
    ggf_file *model;
    if (ggf_open(&model, argv[1], &options, &err) != 0) {
        fprintf(stderr, "list-tensors: %s\n", err.message);
        return 1;
    }
    struct ggf_str architecture = { "?", 1 };
    ggf_get_str(model, "general.architecture", &architecture, NULL);
    printf("%.*s, %" PRIu64 " tensors\n", (int)architecture.len, architecture.data,
           ggf_tensor_count(model));
    for (uint64_t i = 0; i < ggf_tensor_count(model); i++) {
        const struct ggf_tensor *t = ggf_tensor(model, i);
        printf("%-40s %-8s %12" PRIu64, t->name, ggf_type_name(t->type), t->bytes);
        for (uint32_t d = 0; d < t->n_dims; d++)
            printf("%s%" PRIu64, d ? " x " : "  ", t->ne[d]);
        printf("\n");
    }
    ggf_close(model);
    return 0;
}
