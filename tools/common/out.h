/* out.h - what the programs print: sizes, errors, progress; and JSON (json_out.h). */
#ifndef TOOLS_OUT_H
#define TOOLS_OUT_H

#include "../../infer/text/json_out.h"
#include "../../libgguf/libgguf.h"

#include <stdbool.h>
#include <stdio.h>

/* "name: message" on stderr; returns 1, the exit status of failed work. */
int out_error(const char *program, const ggf_error *err);

/* Install handlers for SIGINT, SIGTERM, SIGHUP, SIGPIPE that end the process by
 * out_end_by(); a SIGHUP (nohup) or SIGPIPE that is ignored stays so.  SIGXFSZ becomes a
 * failing write; SIGBUS, a mapped file that was cut short, removes outputs too, says so
 * and ends with 1. */
void out_handle_signals(void);
bool out_hangup_ignored(void);

/* Remove unfinished outputs, and end by this signal as if nobody had caught it: a shell
 * sees 128 + sig and, after Ctrl-C, ends the loop that it is in. */
void out_end_by(int sig) __attribute__((noreturn));

/* What is set of this terminal now comes back when a signal ends the program. */
void out_keep_terminal(int fd);

/* Flush standard output: `status`, or 1 with a message if what was printed got lost
 * (a full disk). */
int out_close_stdout(const char *program, int status);

/* --force is no leave to lose what is read from: fail if `output` is the file of one of n
 * inputs, by whatever name.  Either may be NULL, for an option that was not given. */
int out_spare(const char *output, const char *const *inputs, size_t n, ggf_error *err);

/* For programs that keep all files of a split set open: as many as the hard limit lets.
 */
void out_allow_many_files(void);

/* "1.25 GiB", "512 B"; returns buf. */
char *out_size(char buf[24], uint64_t bytes);

/* "79,674,391,296"; returns buf. */
char *out_count(char buf[32], uint64_t n);

/* "79.67 B", "31.0 M", "512": a count in thousands; returns buf. */
char *out_short(char buf[24], uint64_t n);

/* Text from a file on one line: control characters and broken UTF-8 are escaped, so that
 * it cannot steer a terminal.  At most `max` bytes are shown, then "...". */
void out_text(FILE *f, const char *text, uint64_t len, uint64_t max);

/* Text inside HTML: markup is escaped; control characters and broken UTF-8 become U+FFFD.
 */
void out_html(FILE *f, const char *text);

/* "03:12", "1:03:12"; returns buf. */
char *out_time(char buf[24], double seconds);

/* Sort n > 0 numbers, none of them NaN, and return their median. */
double out_median(double *v, size_t n);

/* True if the stream is a terminal and NO_COLOR is unset. */
bool out_colour(FILE *f);

/* ---- Progress: one line on a terminal, rewritten; nothing elsewhere. ---- */
struct progress {
    const char *what; /* "hashing" */
    const char *unit; /* of what is counted: "tokens"; NULL: bytes */
    uint64_t total;
    bool off; /* never print */
    double start, last;
};
/* `label` names the item in hand. */
void progress_update(struct progress *p, uint64_t done, const char *label);
/* Clear the line. */
void progress_end(struct progress *p);

#endif
