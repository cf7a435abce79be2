/* json_out.h - JSON, written as it is called. */
#ifndef INFER_TEXT_JSON_OUT_H
#define INFER_TEXT_JSON_OUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Zero but for f at the start. */
struct json {
    FILE *f;
    int depth;
    bool need_comma;
    bool one_line; /* no line breaks: JSON lines */
};
/* `key` is NULL inside an array and at the top. */
void json_open(struct json *j, const char *key, char bracket); /* '{' or '[' */
void json_close(struct json *j, char bracket);                 /* '}' or ']' */
/* Bytes that are not UTF-8 become U+FFFD. */
void json_str(struct json *j, const char *key, const char *value);
void json_strn(struct json *j, const char *key, const char *value, size_t len);
void json_u64(struct json *j, const char *key, uint64_t value);
void json_i64(struct json *j, const char *key, int64_t value);
void json_f64(struct json *j, const char *key, double value); /* null if not finite */
void json_bool(struct json *j, const char *key, bool value);
void json_none(struct json *j, const char *key);
/* End of the document: a newline. */
void json_end(struct json *j);

#endif
