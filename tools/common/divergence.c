/* divergence.c - see divergence.h. */
#include "divergence.h"

#include "order.h"
#include "out.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct estimate estimate(double sum, double sum_of_squares, size_t n)
{
    struct estimate e = { n ? sum / (double)n : 0, 0 };
    const double variance = n ? sum_of_squares / (double)n - e.mean * e.mean : 0;
    if (n > 10 && variance > 0) e.error = sqrt(variance / (double)(n - 1));
    return e;
}

struct estimate estimate_exp(struct estimate e)
{
    const double v = exp(e.mean);
    return (struct estimate){ v, v * e.error };
}

bool divergence_alloc(struct divergence *d, size_t n)
{
    *d = (struct divergence){ .n = n };
    d->nll = calloc(6 * n, sizeof *d->nll);
    d->same = calloc(n, sizeof *d->same);
    if (!d->nll || !d->same) {
        divergence_free(d);
        return false;
    }
    d->base_nll = d->nll + n;
    d->kld = d->nll + 2 * n;
    d->dp = d->nll + 3 * n;
    d->ranked_kld = d->nll + 4 * n;
    d->ranked_dp = d->nll + 5 * n;
    return true;
}

void divergence_free(struct divergence *d)
{
    free(d->nll);
    free(d->same);
    *d = (struct divergence){ 0 };
}

static struct estimate estimate_of(const float *v, size_t n)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)v[i];
        squares += (double)v[i] * (double)v[i];
    }
    return estimate(sum, squares, n);
}

/* Sums of the pairs (nll, base nll), as estimates. */
struct pair {
    struct estimate q, base; /* mean nll: log of the perplexities */
    double covariance;       /* of these two means */
};

static struct pair compare_nll(const struct divergence *d)
{
    struct pair p = { estimate_of(d->nll, d->n), estimate_of(d->base_nll, d->n), 0 };
    double sum = 0;
    for (size_t i = 0; i < d->n; i++) sum += (double)d->nll[i] * (double)d->base_nll[i];
    if (d->n > 10)
        p.covariance = (sum / (double)d->n - p.q.mean * p.base.mean) / (double)(d->n - 1);
    return p;
}

static double root(double v) { return v > 0 ? sqrt(v) : 0; }

static struct estimate log_ratio(const struct pair *p)
{
    const double variance =
        p->q.error * p->q.error + p->base.error * p->base.error - 2 * p->covariance;
    return (struct estimate){ p->q.mean - p->base.mean, root(variance) };
}

static struct estimate difference(const struct pair *p)
{
    const struct estimate q = estimate_exp(p->q), b = estimate_exp(p->base);
    const double variance =
        q.error * q.error + b.error * b.error - 2 * q.mean * b.mean * p->covariance;
    return (struct estimate){ q.mean - b.mean, root(variance) };
}

static double correlation(const struct pair *p)
{
    const double scale = p->q.error * p->base.error;
    return scale > 0 ? p->covariance / scale : 0;
}

double percentile(const float *ranked, size_t n, double fraction)
{
    const double at = fraction * (double)(n - 1);
    const size_t i = (size_t)at;
    if (i + 1 >= n) return (double)ranked[n - 1];
    const double low = (double)ranked[i], high = (double)ranked[i + 1];
    return low + (at - (double)i) * (high - low);
}

/* Root of the mean square, its error carried over from that of the squares. */
static struct estimate root_mean_square(const float *v, size_t n)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        const double s = (double)v[i] * (double)v[i];
        sum += s;
        squares += s * s;
    }
    const struct estimate e = estimate(sum, squares, n);
    const double r = sqrt(e.mean);
    return (struct estimate){ r, r > 0 ? e.error / (2 * r) : 0 };
}

struct estimate divergence_kld(const struct divergence *d)
{
    return estimate_of(d->kld, d->n);
}

struct estimate divergence_same_top(const struct divergence *d)
{
    size_t same = 0;
    for (size_t i = 0; i < d->n; i++) same += d->same[i];
    return estimate((double)same, (double)same, d->n);
}

static const struct {
    const char *name, *key;
    double fraction;
} kld_ranks[] = {
    { "Maximum", "max", 1 },      { "99.9%", "p99.9", 0.999 }, { "99.0%", "p99", 0.99 },
    { "95.0%", "p95", 0.95 },     { "90.0%", "p90", 0.9 },     { "Median", "median", 0.5 },
    { "10.0%", "p10", 0.1 },      { " 5.0%", "p5", 0.05 },      { " 1.0%", "p1", 0.01 },
    { " 0.1%", "p0.1", 0.001 },    { "Minimum", "min", 0 },
}, dp_ranks[] = {
    { "Maximum", "max", 1 },      { "99.9%", "p99.9", 0.999 }, { "99.0%", "p99", 0.99 },
    { "95.0%", "p95", 0.95 },     { "90.0%", "p90", 0.9 },     { "75.0%", "p75", 0.75 },
    { "Median", "median", 0.5 },  { "25.0%", "p25", 0.25 },    { "10.0%", "p10", 0.1 },
    { " 5.0%", "p5", 0.05 },       { " 1.0%", "p1", 0.01 },      { " 0.1%", "p0.1", 0.001 },
    { "Minimum", "min", 0 },
};
#define COUNT(a) (sizeof(a) / sizeof *(a))

void divergence_rank(struct divergence *d)
{
    memcpy(d->ranked_kld, d->kld, d->n * sizeof *d->kld);
    memcpy(d->ranked_dp, d->dp, d->n * sizeof *d->dp);
    qsort(d->ranked_kld, d->n, sizeof *d->kld, rising_float);
    qsort(d->ranked_dp, d->n, sizeof *d->dp, rising_float);
}

/* The lines are llama-perplexity's to the last blank: there are programs that read them.
 */
static void ppl_line(FILE *f, const char *name, struct estimate e)
{
    fprintf(f, "%-30s: %10.6f ± %10.6f\n", name, e.mean, e.error);
}

static void percent_line(FILE *f, const char *name, struct estimate e)
{
    fprintf(f, "%s: %6.3f ± %5.3f %%\n", name, 100 * e.mean, 100 * e.error);
}

void divergence_print(const struct divergence *d, FILE *f)
{
    const struct pair p = compare_nll(d);
    const struct estimate ratio = log_ratio(&p);
    const struct estimate kld = divergence_kld(d), dp = estimate_of(d->dp, d->n);
    fprintf(f, "====== Perplexity statistics ======\n");
    ppl_line(f, "Mean PPL(Q)", estimate_exp(p.q));
    ppl_line(f, "Mean PPL(base)", estimate_exp(p.base));
    fprintf(f, "%-30s: %6.2f%%\n", "Cor(ln(PPL(Q)), ln(PPL(base)))",
            100 * correlation(&p));
    ppl_line(f, "Mean ln(PPL(Q)/PPL(base))", ratio);
    ppl_line(f, "Mean PPL(Q)/PPL(base)", estimate_exp(ratio));
    ppl_line(f, "Mean PPL(Q)-PPL(base)", difference(&p));
    fprintf(f, "\n====== KL divergence statistics ======\n");
    fprintf(f, "Mean    KLD: %10.6f ± %10.6f\n", kld.mean, kld.error);
    for (size_t i = 0; i < COUNT(kld_ranks); i++)
        fprintf(f, "%-7s KLD: %10.6f\n", kld_ranks[i].name,
                percentile(d->ranked_kld, d->n, kld_ranks[i].fraction));
    fprintf(f, "\n====== Token probability statistics ======\n");
    percent_line(f, "Mean    Δp", dp);
    for (size_t i = 0; i < COUNT(dp_ranks); i++)
        fprintf(f, "%-7s Δp: %6.3f%%\n", dp_ranks[i].name,
                100 * percentile(d->ranked_dp, d->n, dp_ranks[i].fraction));
    percent_line(f, "RMS Δp    ", root_mean_square(d->dp, d->n));
    percent_line(f, "Same top p", divergence_same_top(d));
}

static void json_estimate(struct json *j, const char *key, struct estimate e)
{
    json_open(j, key, '{');
    json_f64(j, "mean", e.mean);
    json_f64(j, "error", e.error);
    json_close(j, '}');
}

void divergence_json(const struct divergence *d, struct json *j)
{
    const struct pair p = compare_nll(d);
    const struct estimate ratio = log_ratio(&p);
    const struct estimate kld = divergence_kld(d), dp = estimate_of(d->dp, d->n);
    json_estimate(j, "ppl", estimate_exp(p.q));
    json_estimate(j, "ppl_base", estimate_exp(p.base));
    json_f64(j, "correlation", correlation(&p));
    json_estimate(j, "ln_ppl_ratio", ratio);
    json_estimate(j, "ppl_ratio", estimate_exp(ratio));
    json_estimate(j, "ppl_difference", difference(&p));
    json_estimate(j, "kld", kld);
    json_open(j, "kld_ranks", '{');
    for (size_t i = 0; i < COUNT(kld_ranks); i++)
        json_f64(j, kld_ranks[i].key,
                 percentile(d->ranked_kld, d->n, kld_ranks[i].fraction));
    json_close(j, '}');
    json_estimate(j, "dp", dp);
    json_open(j, "dp_ranks", '{');
    for (size_t i = 0; i < COUNT(dp_ranks); i++)
        json_f64(j, dp_ranks[i].key,
                 percentile(d->ranked_dp, d->n, dp_ranks[i].fraction));
    json_close(j, '}');
    json_estimate(j, "dp_rms", root_mean_square(d->dp, d->n));
    json_estimate(j, "same_top", divergence_same_top(d));
}
