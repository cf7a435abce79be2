/* page.h - the page that q3n-serve answers with at `/`: page.html, as it is. */
#ifndef INFER_SERVE_PAGE_H
#define INFER_SERVE_PAGE_H

#include <stdint.h>

extern const char q3n_page[];
extern const uint64_t q3n_page_bytes;

#endif
