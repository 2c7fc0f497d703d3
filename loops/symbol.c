/* symbol.c: see symbol.h. */
#include "symbol.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The program itself comes first. */
static int note_base(struct dl_phdr_info *info, size_t size, void *base) {
    (void)size;
    *(ElfW(Addr) *)base = info->dlpi_addr;
    return 1;
}

/* [offset, offset + bytes) of the image, or null when that lies outside: the file may be anything.
 */
static const void *part_of(const char *image, size_t size, uint64_t offset, uint64_t bytes) {
    return offset <= size && bytes <= size - offset ? image + offset : NULL;
}

static bool name_in_table(const char *image, size_t size, const ElfW(Shdr) * table,
                          const ElfW(Shdr) * strings, ElfW(Addr) value, char *text) {
    const ElfW(Sym) *symbols = part_of(image, size, table->sh_offset, table->sh_size);
    const char *names = part_of(image, size, strings->sh_offset, strings->sh_size);
    if (!symbols || !names)
        return false;
    for (size_t i = 0; i < table->sh_size / sizeof *symbols; i++) {
        const ElfW(Sym) *symbol = &symbols[i];
        if (symbol->st_value != value || ELF64_ST_TYPE(symbol->st_info) != STT_FUNC ||
            symbol->st_name >= strings->sh_size)
            continue;
        snprintf(text, SYMBOL_TEXT_BYTES, "%.*s", (int)(strings->sh_size - symbol->st_name),
                 names + symbol->st_name);
        return true;
    }
    return false;
}

static bool name_in_image(const char *image, size_t size, ElfW(Addr) value, char *text) {
    const ElfW(Ehdr) *header = part_of(image, size, 0, sizeof *header);
    if (!header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return false;
    const ElfW(Shdr) *sections =
        part_of(image, size, header->e_shoff, header->e_shnum * sizeof *sections);
    if (!sections)
        return false;
    for (unsigned i = 0; i < header->e_shnum; i++)
        if (sections[i].sh_type == SHT_SYMTAB && sections[i].sh_link < header->e_shnum)
            return name_in_table(image, size, &sections[i], &sections[sections[i].sh_link], value,
                                 text);
    return false;
}

static bool name_in_program(ElfW(Addr) address, char *text) {
    ElfW(Addr) base = 0;
    struct stat status;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    dl_iterate_phdr(note_base, &base);
    void *image = MAP_FAILED;
    if (fstat(fd, &status) == 0 && status.st_size > 0)
        image = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (image == MAP_FAILED)
        return false;
    bool found = name_in_image(image, (size_t)status.st_size, address - base, text);
    munmap(image, (size_t)status.st_size);
    return found;
}

char *symbol_name(void (*function)(void), char text[SYMBOL_TEXT_BYTES]) {
    Dl_info info;
    void *address = (void *)(uintptr_t)function;
    if (name_in_program((ElfW(Addr))(uintptr_t)function, text))
        return text;
    if (dladdr(address, &info) && info.dli_sname && info.dli_saddr == address)
        snprintf(text, SYMBOL_TEXT_BYTES, "%s", info.dli_sname);
    else
        snprintf(text, SYMBOL_TEXT_BYTES, "%p", address);
    return text;
}
