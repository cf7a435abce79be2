/* command.h - a command line as text that a shell takes back. */
#ifndef TOOLS_COMMAND_H
#define TOOLS_COMMAND_H

/* `name` and the arguments after argv[0], quoted where they have to be.  What names a
 * file in another folder becomes its name alone, and the flag `except` is left out.
 * Returns text to be freed; NULL: out of memory. */
char *command_text(const char *name, int argc, char **argv, const char *except);

#endif
