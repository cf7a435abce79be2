/* gbnf.h - llama.cpp's GBNF: a grammar written down as rules.
 *
 *   root  ::= "yes" | "no" because?          # the text is what the rule root matches
 *   because ::= ", because " [a-z ]{3,40} "."
 *
 * A rule is a name (letters, digits, '-'), '::=' and alternatives, and ends with its
 * line; after '::=', after '|' and within parentheses a line may end anywhere.  An
 * alternative is a sequence of "text"            \n \r \t \\ \" \[ \] \xHH \uHHHH
 * \UHHHHHHHH stand for a character [a-z_] [^"\\]     one of these characters, one of the
 * others .                 any character name              what that rule matches; it may
 * come later, and call itself ( ... )           alternatives each with * + ? {m} {m,} or
 * {m,n} behind it, if it is repeated.
 *
 * Not supported are rules that begin by calling themselves (as in llama.cpp), and tokens
 * (<...>). */
#ifndef INFER_SESSION_GBNF_H
#define INFER_SESSION_GBNF_H

#include "grammar.h"

/* GGF_E_ARG, saying what is wrong and where, also if no text matches. */
int q3n_gbnf_parse(q3n_grammar **out, const char *text, size_t len, ggf_error *err);

#endif
