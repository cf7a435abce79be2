/* nfc.h - Unicode normalization form C, as Qwen's tokenizer asks for. */
#ifndef INFER_TEXT_NFC_H
#define INFER_TEXT_NFC_H

#include <stddef.h>
#include <stdint.h>

/* Growing text; zero-initialise, release with free(bytes). */
struct nfc_text {
    uint8_t *bytes;
    size_t len, capacity;
};

/* Normalize.  Returns 0 if the text is in form C as it stands (`out` is untouched), 1 if
 * the result is in `out` (what was there is replaced), -1 out of memory.  Ill-formed
 * bytes are kept; nothing combines across them.  Time is linear in the text. */
int nfc_normalize(const uint8_t *text, size_t len, struct nfc_text *out);

#endif
