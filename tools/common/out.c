/* out.c - see out.h. */
#include "out.h"

#include "../../infer/now.h"
#include "../../infer/text/utf8.h"
#include "order.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int out_error(const char *program, const ggf_error *err)
{
    fprintf(stderr, "%s: %s\n", program, err->message);
    return 1;
}

int out_close_stdout(const char *program, int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    fprintf(stderr, "%s: cannot write to standard output: %s\n", program,
            strerror(errno));
    return 1;
}

char *out_size(char buf[24], uint64_t bytes)
{
    static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB" };
    if (bytes < 1024) {
        snprintf(buf, 24, "%" PRIu64 " B", bytes);
        return buf;
    }
    double v = (double)bytes / 1024;
    int u = 0;
    while (v >= 1024 && u < 4) v /= 1024, u++;
    snprintf(buf, 24, "%.2f %s", v, units[u]);
    return buf;
}

char *out_count(char buf[32], uint64_t n)
{
    char digits[24];
    const int len = snprintf(digits, sizeof digits, "%" PRIu64, n);
    char *p = buf;
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0) *p++ = ',';
        *p++ = digits[i];
    }
    *p = 0;
    return buf;
}

char *out_short(char buf[24], uint64_t n)
{
    double v = (double)n;
    int u = 0;
    while (v >= 999.5 && u < 4) v /= 1000, u++;
    static const char *const units[] = { "", " K", " M", " B", " T" };
    const int places = !u ? 0 : v < 9.995 ? 2 : v < 99.95 ? 1 : 0;
    snprintf(buf, 24, "%.*f%s", places, v, units[u]);
    return buf;
}

char *out_time(char buf[24], double seconds)
{
    const unsigned long s = seconds > 0 ? (unsigned long)seconds : 0;
    if (s >= 3600)
        snprintf(buf, 24, "%lu:%02lu:%02lu", s / 3600 % 10000, s / 60 % 60, s % 60);
    else snprintf(buf, 24, "%02lu:%02lu", s / 60, s % 60);
    return buf;
}

double out_median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, rising_double);
    return (v[(n - 1) / 2] + v[n / 2]) / 2;
}

bool out_colour(FILE *f)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return !(no && *no) && isatty(fileno(f)) && !(term && !strcmp(term, "dumb"));
}

void progress_update(struct progress *p, uint64_t done, const char *label)
{
    if (p->off || !isatty(STDERR_FILENO)) return;
    const double now = seconds_now();
    if (p->start <= 0) p->start = now;
    if (now - p->last < 0.1 && done < p->total) return;
    p->last = now;
    const double used = now - p->start,
                 share = p->total ? (double)done / (double)p->total : 0;
    char eta[24], rate[32];
    out_time(eta, share > 0 ? used / share - used : 0);
    const uint64_t speed = used > 0 ? (uint64_t)((double)done / used) : 0;
    if (p->unit) out_count(rate, speed);
    else out_size(rate, speed);
    fprintf(stderr, "\r\033[K%s %3.0f %%  %s%s%s/s  ETA %s  %.40s", p->what, 100 * share,
            rate, p->unit ? " " : "", p->unit ? p->unit : "", eta, label ? label : "");
    fflush(stderr);
}

void progress_end(struct progress *p)
{
    if (p->off || !isatty(STDERR_FILENO)) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
}

/* Bytes of the UTF-8 character at s, or 0 if there is none. */
static unsigned utf8_length(const unsigned char *s, uint64_t left)
{
    unsigned n;
    return utf8_decode(s, left, &n) == UTF8_BAD ? 0 : n;
}

/* Is the character one that a terminal acts on: C0, DEL, C1? */
static bool is_control(const unsigned char *s)
{
    return s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0);
}

static const char *short_escape(unsigned char c)
{
    switch (c) {
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    default: return NULL;
    }
}

void out_text(FILE *f, const char *text, uint64_t len, uint64_t max)
{
    const unsigned char *s = (const unsigned char *)text;
    for (uint64_t i = 0, n; i < len; i += n) {
        n = utf8_length(s + i, len - i);
        if (i + n > max) {
            fputs("...", f);
            return;
        }
        if (!n) fprintf(f, "\\x%02x", s[i]), n = 1;
        else if (short_escape(s[i])) fputs(short_escape(s[i]), f);
        else if (is_control(s + i)) fprintf(f, "\\x%02x", s[i + n - 1]);
        else fwrite(s + i, 1, n, f);
    }
}

void out_html(FILE *f, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    const size_t len = strlen(text);
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_length(s + i, len - i);
        if (!n || is_control(s + i)) fputs("\xef\xbf\xbd", f), n = n ? n : 1;
        else if (strchr("<>&\"", s[i])) fprintf(f, "&#%d;", s[i]);
        else fwrite(s + i, 1, n, f);
    }
}
