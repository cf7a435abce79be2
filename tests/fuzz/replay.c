/* replay.c - a main for fuzz targets: runs kept inputs instead of making new ones.
 *
 *   test_fuzz_NAME          the corpus and all crashes found, of this target
 *   test_fuzz_NAME FILE...  these files
 *
 * A crash is a failed test; there is nothing else to compare. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int passed, failed;

/* The input lies in memory of exactly its size, so that the address sanitizer sees a
 * read behind it. */
static void run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) {
        printf("cannot read %s\n", path);
        failed++;
        if (f) fclose(f);
        return;
    }
    const long size = ftell(f);
    rewind(f);
    uint8_t *bytes = size >= 0 ? malloc((size_t)size + !size) : NULL;
    if (bytes && fread(bytes, 1, (size_t)size, f) == (size_t)size) {
        printf("%s\n", path);
        fflush(stdout); /* the last line names the input that crashes */
        LLVMFuzzerTestOneInput(bytes, (size_t)size);
        passed++;
    } else {
        failed++;
    }
    free(bytes);
    fclose(f);
}

/* Every file of tests/fuzz/KIND/TARGET; there may be none. */
static void run_folder(const char *kind, const char *target)
{
    char path[1024];
    snprintf(path, sizeof path, "tests/fuzz/%s/%s", kind, target);
    DIR *d = opendir(path);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "tests/fuzz/%s/%s/%s", kind, target, e->d_name);
        run_file(path);
    }
    closedir(d);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        for (int i = 1; i < argc; i++) run_file(argv[i]);
    } else {
        const char *name = strstr(argv[0], "test_fuzz_");
        if (!name) return 2;
        LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
        run_folder("corpus", name + strlen("test_fuzz_"));
        run_folder("regress", name + strlen("test_fuzz_"));
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
