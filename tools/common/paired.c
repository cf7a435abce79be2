/* paired.c - see paired.h. */
#include "paired.h"

#include <stdlib.h>

/* What is compared, of each window. */
struct means {
    double *kld, *same, *nll;
};

static void window_means(struct means to, const struct divergence *d, size_t n_windows)
{
    const size_t each = d->n / n_windows;
    for (size_t w = 0; w < n_windows; w++) {
        double kld = 0, same = 0, nll = 0;
        for (size_t i = w * each; i < (w + 1) * each; i++) {
            kld += (double)d->kld[i];
            same += d->same[i];
            nll += (double)d->nll[i];
        }
        to.kld[w] = kld / (double)each;
        to.same[w] = same / (double)each;
        to.nll[w] = nll / (double)each;
    }
}

static struct interval difference(const double *first, double *second, size_t n)
{
    for (size_t i = 0; i < n; i++) second[i] -= first[i];
    return bootstrap_mean(second, n);
}

bool paired_compare(struct paired *p, const struct divergence *first,
                    const struct divergence *second, size_t n_windows)
{
    const size_t n = n_windows;
    double *room = calloc(6 * n, sizeof *room);
    if (!room) return false;
    const struct means a = { room, room + n, room + 2 * n };
    const struct means b = { room + 3 * n, room + 4 * n, room + 5 * n };
    window_means(a, first, n);
    window_means(b, second, n);
    *p = (struct paired){ .n_windows = n };
    for (size_t i = 0; i < n; i++) {
        p->closer += b.kld[i] < a.kld[i];
        p->farther += b.kld[i] > a.kld[i];
    }
    p->ratio = bootstrap_ratio(b.kld, a.kld, n);
    p->kld = difference(a.kld, b.kld, n);
    p->same_top = difference(a.same, b.same, n);
    p->nll = difference(a.nll, b.nll, n);
    free(room);
    return true;
}

static void line(FILE *f, const char *name, struct interval i, double scale)
{
    fprintf(f, "%-30s: %10.6f", name, scale * i.value);
    if (i.low <= i.high)
        fprintf(f, "   95 %% from %.6f to %.6f", scale * i.low, scale * i.high);
    putc('\n', f);
}

void paired_print(const struct paired *p, FILE *f)
{
    line(f, "Difference of mean KLD", p->kld, 1);
    line(f, "Ratio of mean KLD", p->ratio, 1);
    line(f, "Difference of same top p, %", p->same_top, 100);
    line(f, "Difference of ln PPL", p->nll, 1);
    fprintf(f, "%-30s: %zu closer, %zu farther of %zu\n", "Windows", p->closer,
            p->farther, p->n_windows);
}

static void json_interval(struct json *j, const char *key, struct interval i)
{
    json_open(j, key, '{');
    json_f64(j, "value", i.value);
    json_f64(j, "low", i.low);
    json_f64(j, "high", i.high);
    json_close(j, '}');
}

void paired_json(const struct paired *p, struct json *j)
{
    json_interval(j, "kld_difference", p->kld);
    json_interval(j, "kld_ratio", p->ratio);
    json_interval(j, "same_top_difference", p->same_top);
    json_interval(j, "ln_ppl_difference", p->nll);
    json_u64(j, "windows", p->n_windows);
    json_u64(j, "windows_closer", p->closer);
    json_u64(j, "windows_farther", p->farther);
    json_f64(j, "share_closer", (double)p->closer / (double)p->n_windows);
}
