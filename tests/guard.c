/* An allocator that finds overwrites: every heap block lies between two canaries, which are checked when it is freed.
 * Preloaded by test_memory.py; guard_overwrites() returns how many blocks were found damaged. For glibc.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BEFORE = 64, AFTER = 256, CANARY = 0xA5 };

typedef struct {
    uintptr_t mark; /* the address of the block, disguised: blocks of another allocator have none */
    size_t size;
    void *base;
} Header;

extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static const uintptr_t MARK = 0x5ca1ab1e0ddba115;
static int overwrites;

int guard_overwrites(void) { return __atomic_load_n(&overwrites, __ATOMIC_SEQ_CST); }

static Header *header_of(void *block) {
    Header *header = (Header *)((char *)block - BEFORE - sizeof(Header));
    return header->mark == (MARK ^ (uintptr_t)block) ? header : NULL;
}

static void *allocate(size_t alignment, size_t size) {
    if (alignment < 64) alignment = 64;
    size_t front = (sizeof(Header) + BEFORE + alignment - 1) / alignment * alignment, total;
    char *base = __builtin_add_overflow(size, front + AFTER, &total) ? NULL : __libc_memalign(alignment, total);
    if (!base) {
        errno = ENOMEM;
        return NULL;
    }
    char *block = base + front;
    *(Header *)(block - BEFORE - sizeof(Header)) = (Header){MARK ^ (uintptr_t)block, size, base};
    memset(block - BEFORE, CANARY, BEFORE);
    memset(block + size, CANARY, AFTER);
    return block;
}

static void check(const unsigned char *block, size_t size) {
    for (ptrdiff_t at = -BEFORE; at < (ptrdiff_t)size + AFTER; at = at == -1 ? (ptrdiff_t)size : at + 1) {
        if (block[at] == CANARY) continue;
        char line[120];
        int length = snprintf(line, sizeof line, "guard: a block of %zu bytes was overwritten at byte %td\n", size, at);
        if (write(STDERR_FILENO, line, (size_t)length) < 0) abort();
        __atomic_add_fetch(&overwrites, 1, __ATOMIC_SEQ_CST);
        return;
    }
}

void free(void *block) {
    Header *header = block ? header_of(block) : NULL;
    if (!header) {
        __libc_free(block);
        return;
    }
    check(block, header->size);
    header->mark = 0;
    __libc_free(header->base);
}

void *malloc(size_t size) { return allocate(1, size); }

void *calloc(size_t number, size_t each) {
    size_t size;
    void *block = allocate(1, __builtin_mul_overflow(number, each, &size) ? SIZE_MAX : size);
    return block ? memset(block, 0, size) : NULL;
}

void *realloc(void *block, size_t size) {
    void *larger = allocate(1, size);
    Header *header = block ? header_of(block) : NULL;
    if (!larger || !block) return larger;
    size_t old = header ? header->size : size;
    memcpy(larger, block, old < size ? old : size);
    free(block);
    return larger;
}

void *memalign(size_t alignment, size_t size) { return allocate(alignment, size); }
void *aligned_alloc(size_t alignment, size_t size) { return allocate(alignment, size); }

int posix_memalign(void **block, size_t alignment, size_t size) {
    int before = errno;
    *block = allocate(alignment, size);
    errno = before;
    return *block ? 0 : ENOMEM;
}

size_t malloc_usable_size(void *block) {
    Header *header = block ? header_of(block) : NULL;
    return header ? header->size : 0;
}
