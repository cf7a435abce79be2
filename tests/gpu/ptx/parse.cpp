/* parse.cpp - the text of a module of PTX into instructions.
 *
 * What nvcc writes is taken, no more: nothing here is meant for text of unknown origin.
 * Functions are laid out in the order they come in, which is before those that call
 * them. */
#include "memory.h"
#include "scan.h"

#include <cstdio>
#include <map>
#include <unordered_map>

namespace ptx
{
namespace
{

struct symbol {
    enum {
        REGISTER,
        PREDICATE,
        SYMBOL_PARAM,
        SYMBOL_LANE_PARAM,
        SYMBOL_SHARED,
        SYMBOL_LOCAL,
        SYMBOL_GLOBAL
    } kind;
    uint32_t at = 0;    /* in the frame, among parameters, in shared memory */
    uint32_t bytes = 0; /* 2, 4, 8: of a register; of a lane's parameter */
    uint64_t address = 0;
};
typedef std::unordered_map<std::string, symbol> scope;

struct parser : scanner {
    module &m;
    parser(module &to, const char *text) : scanner{ text }, m(to) {}

    std::vector<scope> scopes;
    std::unordered_map<std::string, uint32_t> labels; /* of a function */
    std::vector<std::pair<uint32_t, std::string>> jumps;
    std::unordered_map<std::string, uint32_t> functions;
    std::map<std::pair<uint64_t, int>, uint32_t> constants;
    std::unordered_map<std::string, std::pair<const op_kind *, instr>> known;
    uint32_t frame = 0; /* of all functions; a kernel's own follows */
    uint32_t line = 0;
    std::string version;              /* of PTX */
    kernel *k = NULL;                 /* NULL: a function is parsed */
    std::vector<local_memory> locals; /* of functions */

    /* ---- Places ---- */
    uint32_t take_frame(uint32_t bytes)
    {
        const uint32_t at = frame;
        frame += (bytes + 63) / 64 * 64;
        return at;
    }
    uint32_t constant(uint64_t v, int bytes)
    {
        const auto key = std::make_pair(v, bytes);
        const auto at = constants.find(key);
        if (at != constants.end()) return at->second;
        const uint32_t where = (uint32_t)m.constants.size();
        m.constants.resize(where + 8 * WARP);
        for (uint32_t i = 0; i < WARP; i++)
            memcpy(&m.constants[where + i * (size_t)bytes], &v, (size_t)bytes);
        return constants[key] = where | CONSTANT;
    }
    const symbol *find(const std::string &name) const
    {
        for (size_t i = scopes.size(); i--;) {
            const auto at = scopes[i].find(name);
            if (at != scopes[i].end()) return &at->second;
        }
        return NULL;
    }
    /* ---- Declarations ---- */
    static uint32_t type_bytes(const std::string &type)
    {
        return (uint32_t)strtoul(type.c_str() + 2, NULL, 10) / 8;
    }
    /* [.align n] .type name[count] ; for parameters and variables */
    struct declared {
        uint32_t align, bytes;
        std::string name, type;
        bool open; /* [] */
    };
    declared declaration()
    {
        declared d = { 1, 0, "", "", false };
        std::string w = word();
        if (w == ".align") {
            d.align = (uint32_t)number(word());
            w = word();
        }
        d.type = w;
        d.bytes = type_bytes(w);
        d.align = std::max(d.align, d.bytes);
        d.name = word();
        if (take('[')) {
            const std::string n = trimmed(until(']'));
            d.open = n.empty();
            d.bytes *= d.open ? 0 : (uint32_t)number(n);
        }
        return d;
    }
    void registers()
    {
        const std::string type = word();
        do {
            std::string name = word();
            uint32_t n = 1;
            const bool many = take('<');
            if (many) n = (uint32_t)number(trimmed(until('>')));
            for (uint32_t i = 0; i < n; i++) {
                symbol s;
                s.kind = type == ".pred" ? symbol::PREDICATE : symbol::REGISTER;
                s.bytes = type == ".pred" ? 4 : type_bytes(type);
                s.at = type == ".pred" ? take_frame(4)
                                       : take_frame((s.bytes == 8 ? 8u : 4u) * WARP);
                scopes.back()[many ? name + std::to_string(i) : name] = s;
            }
        } while (take(','));
        need(';');
    }
    void local_variable()
    {
        const declared d = declaration();
        need(';');
        const uint32_t bytes = (d.bytes + 15) / 16 * 16;
        const local_memory l = { take_frame(8 * WARP), take_frame(bytes * WARP), bytes };
        (k ? k->locals : locals).push_back(l);
        symbol s;
        s.kind = symbol::SYMBOL_LOCAL;
        s.at = l.reg;
        s.bytes = bytes;
        scopes.back()[d.name] = s;
    }
    /* What a call gives or gets, for each lane. */
    lane_param call_param()
    {
        const declared d = declaration();
        symbol s;
        s.kind = symbol::SYMBOL_LANE_PARAM;
        s.bytes = (d.bytes + 7) / 8 * 8;
        s.at = take_frame(s.bytes * WARP);
        scopes.back()[d.name] = s;
        return { s.at, s.bytes };
    }
    /* Of the whole file, or of a kernel. */
    void shared_variable()
    {
        const declared d = declaration();
        need(';');
        place_shared(d);
    }
    uint32_t shared_used = 0;
    void place_shared(const declared &d)
    {
        symbol s;
        s.kind = symbol::SYMBOL_SHARED;
        s.bytes = d.bytes;
        if (d.open) {
            s.at = NONE; /* known when all the others are */
        } else {
            shared_used = (shared_used + d.align - 1) / d.align * d.align;
            s.at = shared_used;
            shared_used += d.bytes;
        }
        scopes.back()[d.name] = s;
    }
    void global_variable()
    {
        const declared d = declaration();
        std::string values;
        if (take('=')) {
            skip();
            values = until(';');
        } else {
            need(';');
        }
        std::unique_ptr<uint8_t[]> bytes(new uint8_t[d.bytes + 16]());
        uint8_t *const at = (uint8_t *)(((uintptr_t)bytes.get() + 15) / 16 * 16);
        const uint32_t each = type_bytes(d.type);
        uint32_t i = 0;
        for (const std::string &v : split(values)) {
            const uint64_t x = number(v);
            memcpy(at + each * i++, &x, each);
        }
        m.globals.push_back(std::move(bytes));
        m.global_ranges.push_back({ at, d.bytes });
        symbol s;
        s.kind = symbol::SYMBOL_GLOBAL;
        s.address = (uint64_t)(uintptr_t)at;
        scopes.front()[d.name] = s;
    }

    /* ---- Operands ---- */
    static int special_of(const std::string &s)
    {
        static const char *const names[SPECIALS] = {
            "%tid.x",    "%tid.y",    "%tid.z",   "%ntid.x",  "%ntid.y",
            "%ntid.z",   "%ctaid.x",  "%ctaid.y", "%ctaid.z", "%nctaid.x",
            "%nctaid.y", "%nctaid.z", "%laneid"
        };
        for (int i = 0; i < SPECIALS; i++)
            if (s == names[i]) return i;
        return -1;
    }
    /* Where the value of an operand of a width is. */
    uint32_t value(const std::string &s, int bytes, instr &in, int index)
    {
        if (is_number(s)) {
            uint64_t v = number(s);
            if (bytes == 2) v &= 0xffff;
            return constant(v, bytes == 8 ? 8 : 4);
        }
        const symbol *at = find(s);
        const int special = at ? -1 : special_of(s);
        if (special >= 0) return (uint32_t)special * 4 * WARP;
        if (!at) bad(("unknown: " + s).c_str());
        switch (at->kind) {
        case symbol::REGISTER:
            if (at->bytes == 8) in.wide |= (uint16_t)(1u << index);
            if (at->bytes == 2) in.narrow |= (uint16_t)(1u << index);
            if (bytes && (at->bytes == 8) != (bytes == 8)) bad(("width of " + s).c_str());
            return at->at;
        case symbol::PREDICATE: return at->at;
        case symbol::SYMBOL_LOCAL: in.wide |= (uint16_t)(1u << index); return at->at;
        case symbol::SYMBOL_GLOBAL: return constant(at->address, 8);
        case symbol::SYMBOL_SHARED:
            if (at->at == NONE) return later_shared(bytes);
            return constant(at->at, bytes == 8 ? 8 : 4);
        case symbol::SYMBOL_PARAM: {
            const uint32_t reg = take_frame(8 * WARP);
            k->param_addresses.push_back({ reg, at->at });
            return reg;
        }
        default: bad(("no value: " + s).c_str());
        }
    }
    /* The place of what a launch asks for: a constant that is known at the end, when all
     * that kernels declare is. */
    uint32_t asked_at[2] = { NONE, NONE };
    uint32_t later_shared(int bytes)
    {
        uint32_t &at = asked_at[bytes == 8];
        if (at == NONE) {
            at = (uint32_t)m.constants.size();
            m.constants.resize(at + 8 * WARP);
        }
        return at | CONSTANT;
    }
    void asked_is_known()
    {
        const uint64_t v = m.asked_at;
        for (uint32_t i = 0; i < WARP; i++) {
            if (asked_at[0] != NONE) memcpy(&m.constants[asked_at[0] + i * 4], &v, 4);
            if (asked_at[1] != NONE) memcpy(&m.constants[asked_at[1] + i * 8], &v, 8);
        }
    }

    void address(std::string s, instr &in)
    {
        if (s.size() < 2 || s[0] != '[') bad("an address is missing");
        s = trimmed(s.substr(1, s.size() - 2));
        const size_t plus = s.find('+', 1);
        if (plus != s.npos) {
            in.add = (int64_t)number(trimmed(s.substr(plus + 1)));
            s = trimmed(s.substr(0, plus));
        }
        if (is_number(s)) {
            in.add += (int64_t)number(s);
            return;
        }
        const symbol *at = find(s);
        if (!at) bad(("unknown: " + s).c_str());
        switch (at->kind) {
        case symbol::REGISTER:
        case symbol::SYMBOL_LOCAL:
            in.base = at->at;
            in.base_wide = at->kind == symbol::SYMBOL_LOCAL || at->bytes == 8;
            break;
        case symbol::SYMBOL_PARAM: in.add += at->at; break;
        case symbol::SYMBOL_LANE_PARAM:
            in.where = LANE_PARAM;
            in.base = at->at;
            in.stride = at->bytes;
            break;
        case symbol::SYMBOL_SHARED:
            if (at->at == NONE) in.base = later_shared(4);
            else in.add += at->at;
            break;
        case symbol::SYMBOL_GLOBAL: in.add += (int64_t)at->address; break;
        default: bad(("no address: " + s).c_str());
        }
    }

    /* ---- Instructions ---- */
    uint32_t predicate(const std::string &s)
    {
        if (is_number(s)) return constant(number(s) ? ALL : 0u, 4);
        const symbol *at = find(s);
        if (!at || at->kind != symbol::PREDICATE) bad(("no predicate: " + s).c_str());
        return at->at;
    }
    void put_value(const std::string &s, int bytes, instr &in, int index)
    {
        in.o[index] = value(s, bytes, in, index);
    }
    static int width_of(char kind) /* 0: any */
    {
        return kind == 'w' ? 4 : kind == 'h' ? 2 : kind == 'd' ? 8 : 0;
    }
    void operands(const char *kinds, const std::vector<std::string> &list, instr &in)
    {
        size_t i = 0;
        int o = 0;
        for (; *kinds; kinds++, i++) {
            if (i >= list.size()) bad("too few operands");
            const std::string &s = list[i];
            switch (*kinds) {
            case 'w':
            case 'h':
            case 'd':
            case 'x': put_value(s, width_of(*kinds), in, o++); break;
            case 'p': in.o[o++] = predicate(s); break;
            case 'q': {
                const size_t bar = s.find('|');
                put_value(s.substr(0, bar), 4, in, o++);
                in.o[o++] = bar == s.npos ? NONE : predicate(s.substr(bar + 1));
                break;
            }
            case 'A': put_value(s.substr(1, s.size() - 2), 0, in, o++); break;
            case 'm': address(s, in); break;
            case 'i': in.add = (int64_t)number(s); break;
            case 'L': jumps.push_back({ (uint32_t)m.code.size(), s }); break;
            }
        }
        if (i != list.size()) bad("too many operands");
    }
    std::vector<lane_param> lane_params(const std::string &s)
    {
        std::vector<lane_param> v;
        for (const std::string &name : split(s)) {
            const symbol *at = find(name);
            if (!at || at->kind != symbol::SYMBOL_LANE_PARAM) bad("no argument");
            v.push_back({ at->at, at->bytes });
        }
        return v;
    }
    void call_of(const std::string &text, instr &in)
    {
        /* [(results),] name [, (arguments)] */
        call c;
        std::string rest = trimmed(text);
        if (rest[0] == '(') {
            const size_t end = rest.find(')');
            c.results = lane_params(rest.substr(0, end));
            rest = trimmed(rest.substr(rest.find(',', end) + 1));
        }
        const size_t comma = rest.find(',');
        const std::string name = trimmed(rest.substr(0, comma));
        if (comma != rest.npos) c.args = lane_params(rest.substr(comma + 1));
        const auto at = functions.find(name);
        if (at == functions.end()) bad(("no function: " + name).c_str());
        c.function = at->second;
        in.kind = CALL;
        in.target = (uint32_t)m.calls.size();
        m.calls.push_back(c);
    }
    /* CUDA 11.8, 12.4, 13.0 and 13.5 write what the machine has.  Another compiler's PTX
     * may have what nobody has needed here; that is no failure. */
    [[noreturn]] void unknown(const std::string &name)
    {
        if (version == "7.8" || version == "8.4" || version == "9.0" || version == "9.5")
            bad(("unknown operation: " + name).c_str());
        printf("SKIP: the machine has no %s, which this nvcc's PTX %s uses\n"
               "0 passed, 0 failed\n",
               name.c_str(), version.c_str());
        exit(0);
    }
    void instruction(std::string name)
    {
        instr in;
        std::string guard;
        bool unless = false;
        if (name.empty() && take('@')) {
            unless = take('!');
            guard = word();
            name = word();
        }
        const std::string text = until(';');
        if ((name == "mov.b64" || name == "mov.b32") && text.find('{') != text.npos)
            name += trimmed(text)[0] == '{' ? " unpack" : " pack";
        auto at = known.find(name);
        if (at == known.end()) {
            instr empty;
            const op_kind *op =
                name.rfind("call", 0) == 0 ? NULL : find_operation(name, empty);
            if (!op && name.rfind("call", 0)) unknown(name);
            empty.name = strdup(name.c_str()); /* kept */
            if (op) empty.run = op->run, empty.kind = op->kind;
            at = known.emplace(name, std::make_pair(op, empty)).first;
        }
        in = at->second.second;
        in.line = line;
        if (!guard.empty()) in.guard = predicate(guard), in.unless = unless;
        if (at->second.first) operands(at->second.first->operands, split(text), in);
        else call_of(text, in);
        m.code.push_back(in);
    }
    void location() /* .loc file line column[, ...] to the end of the line */
    {
        const uint32_t file = (uint32_t)number(word());
        line = file << 20 | (uint32_t)number(word());
        p += strcspn(p, "\n");
    }
    void statement()
    {
        skip();
        if (take('{')) {
            scopes.emplace_back();
            return;
        }
        if (*p == '@') {
            instruction("");
            return;
        }
        const std::string w = word();
        if (w == ".reg") registers();
        else if (w == ".loc") location();
        else if (w == ".pragma") until(';');
        else if (w == ".local") local_variable();
        else if (w == ".param") call_param(), need(';');
        else if (w == ".shared") shared_variable();
        else if (w.empty() || w[0] == '.') bad("what is this");
        else if (take(':')) labels[w] = (uint32_t)m.code.size();
        else instruction(w);
    }
    void body()
    {
        need('{');
        const size_t depth = scopes.size();
        labels.clear();
        jumps.clear();
        scopes.emplace_back();
        while (scopes.size() > depth) {
            if (take('}')) scopes.pop_back();
            else statement();
        }
        for (const auto &j : jumps) {
            const auto at = labels.find(j.second);
            if (at == labels.end()) bad(("no label: " + j.second).c_str());
            m.code[j.first].target = at->second;
        }
    }

    /* ---- Functions and kernels ---- */
    std::vector<lane_param> function_params()
    {
        std::vector<lane_param> v;
        if (!take('(')) return v;
        while (!take(')')) {
            take(',');
            if (word() != ".param") bad("no parameter");
            v.push_back(call_param());
        }
        return v;
    }
    void function_of()
    {
        function g;
        scopes.emplace_back();
        g.results = function_params();
        g.name = word();
        g.params = function_params();
        for (skip(); *p == '.'; skip()) p += strcspn(p, "\n");
        if (take(';'))
            die("PTX: a function that comes after its call: %s", g.name.c_str());
        const uint32_t index = (uint32_t)m.functions.size();
        g.first = (uint32_t)m.code.size();
        g.return_to = take_frame(4 * WARP);
        functions[g.name] = index;
        m.functions.push_back(g);
        k = NULL;
        body();
        m.functions[index].end = (uint32_t)m.code.size();
        scopes.pop_back();
    }
    void kernel_params()
    {
        need('(');
        while (!take(')')) {
            take(',');
            if (word() != ".param") bad("no parameter");
            const declared d = declaration();
            const uint32_t at = (k->param_bytes + d.align - 1) / d.align * d.align;
            symbol s;
            s.kind = symbol::SYMBOL_PARAM;
            s.at = at;
            scopes.back()[d.name] = s;
            k->params.push_back({ at, d.bytes });
            k->param_bytes = at + d.bytes;
        }
    }
    void kernel_of()
    {
        const uint32_t functions_frame = frame, functions_shared = shared_used;
        m.kernels.emplace_back(new kernel);
        k = m.kernels.back().get();
        k->of = &m;
        k->name = word();
        k->first = (uint32_t)m.code.size();
        k->locals = locals;
        scopes.emplace_back();
        kernel_params();
        for (skip(); *p == '.'; skip()) p += strcspn(p, "\n"); /* .maxntid and such */
        body();
        scopes.pop_back();
        k->end = (uint32_t)m.code.size();
        k->frame = frame;
        k->shared = shared_used;
        m.asked_at = std::max(m.asked_at, (shared_used + 15) / 16 * 16);
        frame = functions_frame;
        shared_used = functions_shared;
        k = NULL;
    }
    void file_of()
    {
        const size_t index = (size_t)number(word());
        need('"');
        if (m.files.size() <= index) m.files.resize(index + 1);
        m.files[index] = until('"');
        p += strcspn(p, "\n");
    }
    void top()
    {
        scopes.emplace_back();
        frame = SPECIALS * 4 * WARP;
        for (skip(); *p; skip()) {
            const std::string w = word();
            if (w == ".address_size") word();
            else if (w == ".version") version = word();
            else if (w == ".target") {
                m.target = (unsigned)strtoul(word().c_str() + 3, NULL, 10);
                p += strcspn(p, "\n");
            } else if (w == ".visible" || w == ".weak" || w == ".extern") continue;
            else if (w == ".file") file_of();
            else if (w == ".section") {
                word();
                need('{');
                until('}');
            } else if (w == ".shared") shared_variable();
            else if (w == ".global" || w == ".const") global_variable();
            else if (w == ".func") function_of();
            else if (w == ".entry") kernel_of();
            else bad("what is this");
        }
        asked_is_known();
    }
};

} /* namespace */

std::unique_ptr<module> parse(const char *text)
{
    std::unique_ptr<module> m(new module);
    parser(*m, text).top();
    return m;
}

} // namespace ptx
