/* page.c - page.html within the program.  The path is that from the folder in which
 * everything is compiled. */
#include "page.h"

__asm__(".section .rodata\n"
        ".global q3n_page, q3n_page_bytes\n"
        "q3n_page:\n"
        ".incbin \"infer/serve/page.html\"\n"
        "page_end:\n"
        ".balign 8\n"
        "q3n_page_bytes: .quad page_end - q3n_page\n"
        ".previous\n");
