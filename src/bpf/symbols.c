/* symbols.c: reads .dynsym of an ELF file with a check before every look, and tells pushes and nops; see symbols.h. */
#include "bpf/symbols.h"

#include <elf.h>
#include <string.h>

/* The driver's own has some thousand. */
#define MOST_SYMBOLS 200000

static bool inside(size_t size, uint64_t at, uint64_t bytes)
{
        return at <= size && bytes <= size - at;
}

/* Copied, as nothing in a stranger's file need be aligned. */
static bool get(const uint8_t *data, size_t size, uint64_t at, void *to, size_t bytes)
{
        if (!inside(size, at, bytes))
                return false;
        memcpy(to, data + at, bytes);
        return true;
}

static bool get_section(const uint8_t *data, size_t size, const Elf64_Ehdr *h, unsigned int index, Elf64_Shdr *ret)
{
        return index < h->e_shnum && h->e_shoff <= size && get(data, size, h->e_shoff + (uint64_t)index * sizeof *ret, ret, sizeof *ret) &&
               inside(size, ret->sh_offset, ret->sh_size);
}

/* An address of the running library as a place in its file, within executable segments. 0: none. */
static uint64_t to_offset(const uint8_t *data, size_t size, const Elf64_Ehdr *h, uint64_t address)
{
        for (unsigned int i = 0; i < h->e_phnum && h->e_phoff <= size; i++) {
                Elf64_Phdr p;

                if (!get(data, size, h->e_phoff + (uint64_t)i * sizeof p, &p, sizeof p))
                        return 0;
                if (p.p_type != PT_LOAD || !(p.p_flags & PF_X) || address < p.p_vaddr || address - p.p_vaddr >= p.p_filesz ||
                    !inside(size, p.p_offset, p.p_filesz))
                        continue;
                return p.p_offset + (address - p.p_vaddr);
        }
        return 0;
}

static bool names_it(const uint8_t *data, const Elf64_Shdr *strings, uint32_t at, const char *name, size_t length)
{
        return at < strings->sh_size && length < strings->sh_size - at && !memcmp(data + strings->sh_offset + at, name, length) &&
               data[strings->sh_offset + at + length] == 0;
}

int symbols_find(const uint8_t *data, size_t size, const char *const *names, size_t count, uint64_t *offsets)
{
        Elf64_Shdr table = {0}, strings = {0};
        bool have = false;
        uint64_t entries;
        int found = 0;
        Elf64_Ehdr h;

        memset(offsets, 0, count * sizeof *offsets);
        if (!get(data, size, 0, &h, sizeof h) || memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64 ||
            h.e_ident[EI_DATA] != ELFDATA2LSB || h.e_shentsize != sizeof(Elf64_Shdr) || h.e_phentsize != sizeof(Elf64_Phdr))
                return -EINVAL;
        for (unsigned int i = 0; i < h.e_shnum && !have; i++)
                have = get_section(data, size, &h, i, &table) && table.sh_type == SHT_DYNSYM && table.sh_entsize == sizeof(Elf64_Sym) &&
                       get_section(data, size, &h, table.sh_link, &strings);
        if (!have)
                return -EINVAL;
        entries = table.sh_size / sizeof(Elf64_Sym);
        if (entries > MOST_SYMBOLS)
                entries = MOST_SYMBOLS;
        for (uint64_t i = 0; i < entries; i++) {
                Elf64_Sym s;

                if (!get(data, size, table.sh_offset + i * sizeof s, &s, sizeof s))
                        break;
                if (ELF64_ST_TYPE(s.st_info) != STT_FUNC || s.st_shndx == SHN_UNDEF)
                        continue;
                for (size_t k = 0; k < count; k++) {
                        if (offsets[k] || !names_it(data, &strings, s.st_name, names[k], strlen(names[k])))
                                continue;
                        offsets[k] = to_offset(data, size, &h, s.st_value);
                        found += offsets[k] != 0;
                }
        }
        return found;
}

/* push of a register, or a nop of one byte or of five: the kernel emulates them. */
static bool is_cheap(const uint8_t *at, size_t left)
{
        static const uint8_t nop5[] = {0x0f, 0x1f, 0x44, 0x00, 0x00};

        return (left >= 1 && ((at[0] & 0xf8) == 0x50 || at[0] == 0x90)) || (left >= 2 && at[0] == 0x41 && (at[1] & 0xf8) == 0x50) ||
               (left >= sizeof nop5 && !memcmp(at, nop5, sizeof nop5));
}

uint64_t symbols_probe_at(const uint8_t *data, size_t size, uint64_t offset, bool *ret_cheap)
{
        static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};

        *ret_cheap = false;
        if (offset >= size)
                return offset;
        if (is_cheap(data + offset, size - offset)) {
                *ret_cheap = true;
        } else if (inside(size, offset, sizeof endbr64 + 1) && !memcmp(data + offset, endbr64, sizeof endbr64) &&
                   is_cheap(data + offset + sizeof endbr64, size - offset - sizeof endbr64)) {
                *ret_cheap = true;
                offset += sizeof endbr64;
        }
        return offset;
}
