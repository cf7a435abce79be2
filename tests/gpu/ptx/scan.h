/* scan.h - the text of PTX as words, lists and numbers. */
#ifndef TESTS_GPU_PTX_SCAN_H
#define TESTS_GPU_PTX_SCAN_H

#include "ptx.h"

#include <cstdio>

namespace ptx
{

struct scanner {
    const char *p; /* what is left of it */

    [[noreturn]] void bad(const char *what)
    {
        char rest[80];
        snprintf(rest, sizeof rest, "%.70s", p);
        die("PTX: %s before: %s", what, rest);
    }
    void skip()
    {
        for (;;) {
            p += strspn(p, " \t\r\n");
            if (p[0] == '/' && p[1] == '/') p += strcspn(p, "\n");
            else if (p[0] == '/' && p[1] == '*') p = strstr(p, "*/") + 2;
            else return;
        }
    }
    static bool word_char(char c)
    {
        return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%' || c == '.';
    }
    std::string word()
    {
        skip();
        const char *from = p;
        while (word_char(*p)) p++;
        return std::string(from, p);
    }
    bool take(char c)
    {
        skip();
        if (*p != c) return false;
        p++;
        return true;
    }
    void need(char c)
    {
        const char what[] = {
            c, ' ', 'i', 's', ' ', 'm', 'i', 's', 's', 'i', 'n', 'g', 0
        };
        if (!take(c)) bad(what);
    }
    /* Up to the character at the same depth of brackets. */
    std::string until(char end)
    {
        const char *from = p;
        int depth = 0;
        for (; *p && (depth || *p != end); p++) {
            if (strchr("([{", *p)) depth++;
            if (strchr(")]}", *p)) depth--;
        }
        if (!*p) bad("no end");
        return std::string(from, p++);
    }
    static std::string trimmed(const std::string &s)
    {
        const size_t from = s.find_first_not_of(" \t\r\n");
        if (from == s.npos) return "";
        return s.substr(from, s.find_last_not_of(" \t\r\n") + 1 - from);
    }
    /* What commas part, braces and parentheses taken away. */
    static std::vector<std::string> split(const std::string &s)
    {
        std::vector<std::string> list;
        std::string one;
        int depth = 0;
        for (char c : s + ",") {
            if (c == '[') depth++;
            if (c == ']') depth--;
            if (c == '{' || c == '}' || c == '(' || c == ')') continue;
            if (c != ',' || depth) {
                one += c;
                continue;
            }
            one = trimmed(one);
            if (!one.empty()) list.push_back(one);
            one.clear();
        }
        return list;
    }
    static bool is_number(const std::string &s)
    {
        return isdigit((unsigned char)s[0]) ||
               (s[0] == '-' && isdigit((unsigned char)s[1]));
    }
    uint64_t number(const std::string &s)
    {
        const char c = s.size() > 1 && s[0] == '0' ? s[1] : 0;
        if (c == 'f' || c == 'd' || c == 'F' || c == 'D')
            return strtoull(s.c_str() + 2, NULL, 16);
        if (s[0] == '-') return (uint64_t)strtoll(s.c_str(), NULL, 0);
        return strtoull(s.c_str(), NULL, 0);
    }
};

} // namespace ptx

#endif
