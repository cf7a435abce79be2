/* page.h - the page that q3n-serve answers with at `/`: page.html, as it is. */
#ifndef INFER_SERVE_PAGE_H
#define INFER_SERVE_PAGE_H

extern const char q3n_page[], q3n_page_end[];

#endif
