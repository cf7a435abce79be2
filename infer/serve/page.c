/* page.c - page.html within the program.  The path is that from the folder in which
 * everything is compiled. */
#include "page.h"

__asm__(".section .rodata\n"
        ".global q3n_page, q3n_page_end\n"
        "q3n_page:\n"
        ".incbin \"infer/serve/page.html\"\n"
        "q3n_page_end:\n"
        ".byte 0\n"
        ".previous\n");
