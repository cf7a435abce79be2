#!/usr/bin/env bash
# size.sh FILE... - the limits of length: files, functions, lines.
#
# A file is 600 lines at most, 900 if it is one table or one family of kernels (quant/x86,
# .cu files, the grids); a function 60, 120 if it is the body of a kernel or of a test.
# Functions are found by their shape: K&R puts the opening and closing brace in the first
# column.
awk '
function limit_file(f)     { return f ~ /\.cu|(x86|arm)\/|grids|nfc|unicode|tables|tests\// ? 900 : 600 }
function limit_function(f) { return f ~ /\.cu|(x86|arm)\/|_ref\.c|tests\// ? 120 : 60 }
function complain(line, what) { printf "%s:%d: %s\n", FILENAME, line, what; bad = 1 }
FNR == 1          { if (last) file_end(); last = FILENAME; start = 0 }
function file_end() { if (lines > limit_file(last)) { printf "%s: %d lines, at most %d\n", last, lines, limit_file(last); bad = 1 } }
                  { lines = FNR }
/^\{/             { start = FNR }
/^\}/ && start    { if (FNR - start - 1 > limit_function(FILENAME)) complain(start, "function of " FNR - start - 1 " lines, at most " limit_function(FILENAME)); start = 0 }
/[ \t]$/          { complain(FNR, "blank at the end of the line") }
/TODO|FIXME/ { if (FILENAME !~ /lint/) complain(FNR, "unfinished: " $0) }
END               { file_end(); exit bad }
' "$@"
