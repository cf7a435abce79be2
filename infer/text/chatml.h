/* chatml.h - conversations in ChatML, the format of Qwen's models:
 *
 *   <|im_start|>ROLE newline TEXT <|im_end|> newline
 *
 * The text is tokenized apart from the marks, so whatever it says it cannot become one.
 */
#ifndef INFER_TEXT_CHATML_H
#define INFER_TEXT_CHATML_H

#include "tokenizer.h"

/* GGF_E_NOT_FOUND if the vocabulary lacks the marks. */
int chatml_check(const q3n_tokenizer *t, ggf_error *err);

/* Append a whole message; role is "system", "user" or "assistant". */
int chatml_message(const q3n_tokenizer *t, const char *role, const char *text, size_t len,
                   struct q3n_ids *out, ggf_error *err);

/* Append the start of a reply, which the model goes on to write. */
int chatml_open_reply(const q3n_tokenizer *t, struct q3n_ids *out, ggf_error *err);

/* Append the end of a reply. */
int chatml_close_reply(const q3n_tokenizer *t, struct q3n_ids *out, ggf_error *err);

#endif
