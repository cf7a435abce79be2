/* page.c - see page.h. */
#include "page.h"

#include "out.h"
#include "plot.h"

#include <stdlib.h>

/* Colours of Okabe and Ito (2008), lighter ones on dark. */
static const char style[] =
    "<style>\n"
    ":root{color-scheme:light dark;--ink:#1b1b1b;--paper:#fff;--faint:#8884;"
    "--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#cc79a7;--c4:#b58900;--c5:#666}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#ddd;--paper:#161616;"
    "--c0:#56b4e9;--c1:#ff8c42;--c2:#2ecc9a;--c3:#e79ac4;--c4:#f0e442;--c5:#aaa}}\n"
    "body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);"
    "max-width:1360px;margin:2em auto;padding:0 1em}\n"
    "h1{font-size:1.4em}h2{font-size:1.05em;margin:0 0 .3em}\n"
    ".wide{overflow-x:auto}"
    "table{border-collapse:collapse;white-space:nowrap;font-size:.87em}\n"
    "th,td{padding:.25em .6em;text-align:right;border-bottom:1px solid var(--faint)}\n"
    "th:first-child,td:first-child{text-align:left}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(30em,100%),"
    "1fr));"
    "gap:1.5em;margin-top:2em}\n"
    "figure{margin:0}svg{width:100%;height:auto}svg "
    "text{font-size:11px;fill:var(--ink)}\n"
    ".grid{stroke:var(--faint)}.frame{fill:none;stroke:var(--ink)}\n"
    ".line{fill:none;stroke-width:2}.area{opacity:.15}\n"
    ".key{display:inline-block;width:.8em;height:.8em;margin-right:.5em;border-radius:"
    "2px}\n"
    ".s0{--c:var(--c0)}.s1{--c:var(--c1)}.s2{--c:var(--c2)}.s3{--c:var(--c3)}"
    ".s4{--c:var(--c4)}.s5{--c:var(--c5)}\n"
    ".line{stroke:var(--c)}.area,circle{fill:var(--c)}.key{background:var(--c)}\n"
    "</style>\n";

void page_start(FILE *f, const char *title, const char *program)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n"
          "<meta name=\"viewport\" content=\"width=device-width\"/>\n<title>",
          f);
    out_html(f, title);
    fprintf(f, " - %s</title>\n%s</head><body>\n", program, style);
}

void page_end(FILE *f) { fputs("</body></html>\n", f); }

void page_figure(FILE *f, const char *title)
{
    fprintf(f, "<figure><h2>%s</h2>\n", title);
}

void page_figure_end(FILE *f) { fputs("</figure>\n", f); }

void page_key(FILE *f, size_t series)
{
    fprintf(f, "<span class=\"key s%zu\"></span>", series % PLOT_SERIES);
}

int page_write(ggf_output *out, void (*make)(const void *, FILE *), const void *user,
               ggf_error *err)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    if (f) make(user, f);
    const bool bad = !f || ferror(f);
    if ((f && fclose(f)) || bad) {
        free(text);
        return ggf_no_memory(err);
    }
    const int r = ggf_output_write(out, 0, text, len, err);
    free(text);
    return r;
}
