/* math.c - operators on two values, with Python's rules. */
#include "render.h"

#include <math.h>
#include <string.h>

static bool refuse(struct render *r, const char *sign, const struct value *a,
                   const struct value *b)
{
    const struct value *u = a->kind == V_UNDEFINED ? a : b;
    if (u->kind == V_UNDEFINED)
        return render_fail(r, "'%s' is undefined, so '%s' cannot use it", u->name, sign);
    return render_fail(r, "'%s' does not work with %s and %s", sign, value_kind_name(a),
                       value_kind_name(b));
}

static const char *sign_name(enum sign s)
{
    static const char *const names[] = {
        [S_ADD] = "+",        [S_SUB] = "-",         [S_MUL] = "*", [S_DIV] = "/",
        [S_FLOOR_DIV] = "//", [S_MOD] = "%",         [S_EQ] = "==", [S_NE] = "!=",
        [S_LT] = "<",         [S_LE] = "<=",         [S_GT] = ">",  [S_GE] = ">=",
        [S_IN] = "in",        [S_NOT_IN] = "not in",
    };
    return names[s];
}

/* ==== Numbers ============================================================= */

/* Rounded down, as Python does; b is not 0. */
static bool floor_div(int64_t a, int64_t b, int64_t *out)
{
    if (b == -1) return !__builtin_sub_overflow(0, a, out);
    *out = a / b - (a % b != 0 && (a < 0) != (b < 0));
    return true;
}

static bool int_math(struct render *r, enum sign sign, int64_t a, int64_t b,
                     struct value *out)
{
    int64_t i = 0;
    bool ok = true;
    switch (sign) {
    case S_ADD: ok = !__builtin_add_overflow(a, b, &i); break;
    case S_SUB: ok = !__builtin_sub_overflow(a, b, &i); break;
    case S_MUL: ok = !__builtin_mul_overflow(a, b, &i); break;
    case S_DIV: *out = value_float((double)a / (double)b); return true;
    case S_FLOOR_DIV: ok = floor_div(a, b, &i); break;
    default: /* the remainder has the sign of b */
        i = b == -1 ? 0 : a % b;
        if (i && (i < 0) != (b < 0)) i += b;
        break;
    }
    *out = value_int(i);
    return ok || render_fail(r, "an integer is out of range");
}

static double float_math(enum sign sign, double a, double b)
{
    double m;
    switch (sign) {
    case S_ADD: return a + b;
    case S_SUB: return a - b;
    case S_MUL: return a * b;
    case S_DIV: return a / b;
    case S_FLOOR_DIV:
        m = fmod(a, b);
        if (m != 0 && (m < 0) != (b < 0)) m += b;
        return round((a - m) / b);
    default:
        m = fmod(a, b);
        if (m == 0) return copysign(0, b);
        return (m < 0) != (b < 0) ? m + b : m;
    }
}

static bool number_math(struct render *r, enum sign sign, const struct value *a,
                        const struct value *b, struct value *out)
{
    int64_t i, j;
    if (sign >= S_DIV && value_as_float(b) == 0)
        return render_fail(r, "division by zero");
    if (!value_as_int(a, &i) || !value_as_int(b, &j))
        *out = value_float(float_math(sign, value_as_float(a), value_as_float(b)));
    else if (!int_math(r, sign, i, j, out)) return false;
    out->input = a->input || b->input;
    return true;
}

/* ==== Strings and lists =================================================== */

static bool join_lists(struct render *r, const struct value *a, const struct value *b,
                       struct value *out)
{
    struct list *l = list_new(r, a->list->n + b->list->n);
    if (!l) return false;
    memcpy(l->items, a->list->items, a->list->n * sizeof *l->items);
    memcpy(l->items + a->list->n, b->list->items, b->list->n * sizeof *l->items);
    *out = *a;
    out->list = l;
    out->input = a->input && b->input;
    return true;
}

/* "ab" * 3 and [1] * 3 */
static bool repeat(struct render *r, const struct value *a, int64_t times,
                   struct value *out)
{
    struct text_out text = { .r = r };
    if (times < 0) times = 0;
    if (a->kind == V_STRING) {
        if (!a->text.len) times = 0;
        while (times-- > 0)
            if (!text_add(&text, a) || !render_work(r, 1)) return false;
        *out = text_value(&text);
        return true;
    }
    const size_t n = a->list->n;
    if (n && (uint64_t)times > r->arena.limit / n) return render_no_room(r);
    struct list *l = list_new(r, n * (size_t)times);
    if (!l) return false;
    for (size_t i = 0; i < l->n; i++)
        /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): n times something is not 0 */
        l->items[i] = a->list->items[i % n];
    *out = *a;
    out->list = l;
    return true;
}

bool eval_math(struct render *r, enum sign sign, const struct value *a,
               const struct value *b, struct value *out)
{
    int64_t times;
    if (value_is_number(a) && value_is_number(b)) return number_math(r, sign, a, b, out);
    if (sign == S_ADD && a->kind == V_STRING && b->kind == V_STRING) {
        struct text_out text = { .r = r };
        if (!text_add(&text, a) || !text_add(&text, b)) return false;
        *out = text_value(&text);
        return true;
    }
    if (sign == S_ADD && a->kind == V_LIST && b->kind == V_LIST && a->tuple == b->tuple)
        return join_lists(r, a, b, out);
    if (sign == S_MUL && (a->kind == V_STRING || a->kind == V_LIST) &&
        value_as_int(b, &times))
        return repeat(r, a, times, out);
    if (sign == S_MUL && (b->kind == V_STRING || b->kind == V_LIST) &&
        value_as_int(a, &times))
        return repeat(r, b, times, out);
    return refuse(r, sign_name(sign), a, b);
}

/* ==== Comparisons ========================================================= */

static bool contains(struct render *r, const struct value *a, const struct value *b,
                     bool *out)
{
    *out = false;
    if (b->kind == V_UNDEFINED) return true;
    if (b->kind == V_STRING && a->kind == V_STRING) {
        if (!render_work(r, b->text.len / 64)) return false;
        *out = !a->text.len ||
               memmem(b->text.bytes, b->text.len, a->text.bytes, a->text.len) != NULL;
        return true;
    }
    if (b->kind == V_MAP && a->kind != V_MAP && (a->kind != V_LIST || a->tuple)) {
        *out = map_find(b->map, a, &r->steps) < b->map->n;
        return true;
    }
    if (b->kind != V_LIST) return refuse(r, "in", a, b);
    for (size_t i = 0; i < b->list->n && !*out; i++)
        *out = value_equal(a, &b->list->items[i], &r->steps);
    return true;
}

/* The first items that differ decide. */
static bool order_lists(struct render *r, const struct value *a, const struct value *b,
                        int *order)
{
    const struct list *x = a->list, *y = b->list;
    for (size_t i = 0; i < x->n && i < y->n; i++) {
        if (value_equal(&x->items[i], &y->items[i], &r->steps)) continue;
        return value_order(&x->items[i], &y->items[i], order) ||
               refuse(r, "<", &x->items[i], &y->items[i]);
    }
    *order = (x->n > y->n) - (x->n < y->n);
    return true;
}

static bool is_nan(const struct value *v) { return v->kind == V_FLOAT && isnan(v->f); }

bool eval_compare(struct render *r, enum sign sign, const struct value *a,
                  const struct value *b, bool *out)
{
    int order;
    if (sign == S_IN || sign == S_NOT_IN) {
        if (!contains(r, a, b, out)) return false;
        *out ^= sign == S_NOT_IN;
        return true;
    }
    if (sign == S_EQ || sign == S_NE) {
        *out = (value_equal(a, b, &r->steps) && !is_nan(a)) == (sign == S_EQ);
        return true;
    }
    if (a->kind == V_LIST && b->kind == V_LIST && a->tuple == b->tuple) {
        if (!order_lists(r, a, b, &order)) return false;
    } else if (!value_order(a, b, &order)) {
        return refuse(r, sign_name(sign), a, b);
    }
    *out = sign == S_LT   ? order < 0
           : sign == S_LE ? order <= 0
           : sign == S_GT ? order > 0
                          : order >= 0;
    if (is_nan(a) || is_nan(b)) *out = false;
    return true;
}
