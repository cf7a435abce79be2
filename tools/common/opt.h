/* opt.h - the options of a program, in one table: parsing, --help and --version.
 *
 * Options may stand anywhere among the arguments; "--" ends them.  "-c 5", "--ctx 5"
 * and "--ctx=5" are the same; '_' in a long name counts as '-'. */
#ifndef TOOLS_OPT_H
#define TOOLS_OPT_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

enum opt_kind {
    OPT_FLAG,     /* bool *: set to true */
    OPT_FLAG_OFF, /* bool *: set to false */
    OPT_INT,      /* int *: decimal, may be negative */
    OPT_U64,      /* uint64_t *: decimal or 0x */
    OPT_FLOAT,    /* float * */
    OPT_STR,      /* const char ** */
    OPT_SIZE,     /* uint64_t *: bytes; 12G, 512M, 4096; K M G T are powers of 1024 */
    OPT_LIST,     /* struct opt_list *: may be given many times */
    OPT_OPTIONAL, /* const char **: an argument that may be left out (then ""); taken
                     if attached with '=', or if the next word does not start with '-';
                     but while min_args are missing, the last word and the name of an
                     existing file are left to be those */
    OPT_ATTACHED, /* const char **: as above, but only attached: --zstd or --zstd=9 */
    OPT_HEADING,  /* not an option: `help` is printed as a heading in --help */
};

/* What an int is at the start, if it matters whether it was given. */
enum { OPT_NOT_GIVEN = INT_MIN };

struct opt_list {
    const char **items;
    int count;
};

struct opt {
    const char *names; /* "-m, --model" */
    const char *arg;   /* "FILE" as --help shows it; NULL for flags */
    enum opt_kind kind;
    void *value;
    const char *help; /* one or more lines, broken by \n */
};

struct opt_program {
    const char *name;
    const char *usage;         /* "[options] MODEL.gguf" */
    const char *about;         /* what it does, one or two sentences */
    const struct opt *options; /* ends with a NULL `names` and `help` */
    int min_args, max_args;    /* positional arguments; max < 0: any number */
};

enum opt_result {
    OPT_GO = -1, /* run; otherwise the program ends with the value as exit status: */
    OPT_DONE = 0,
    OPT_UNSAID = 1, /* --help or --version could not be printed */
    OPT_USAGE = 2,
};

/* Parse argv.  Positional arguments are moved to the front: args[0..*n_args-1].
 * After --help and --version returns OPT_DONE or OPT_UNSAID; after a mistake, one
 * sentence on stderr, OPT_USAGE. */
int opt_parse(const struct opt_program *program, int argc, char **argv, char ***args,
              int *n_args);

/* "12G" -> bytes.  False if it is not a size. */
bool opt_size(const char *text, uint64_t *bytes);

/* Say on stderr what is wrong with the command line; returns OPT_USAGE. */
int opt_error(const struct opt_program *program, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
