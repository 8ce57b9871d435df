/*
 * The snapshot's heap.
 *
 * Every malloc() of Python's library comes here (build.py renames the symbols in a copy of the archive). While the
 * executable is built, so does every object's memory. Nothing is ever reused here, and allocations come in the same
 * order in every start, so a block's number determines its place. The interpreter is started several times, each time
 * with a better plan of where blocks go. The first time, all blocks go to a scratch area, which is not saved. After that,
 * each block that was still alive at the end has a page of its own, until its use has been watched. The last time, they
 * go to the heap: first what calls write to, then what they only read, then the rest. A call copies each page that it
 * writes to, which is a large part of its time.
 *
 * After the snapshot, libc and Python's own allocator of small objects work as always. If a block of the heap is freed
 * then, nothing happens.
 */
#define _GNU_SOURCE
#include "heap.h"

#include <Python.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GRAIN 16 /* bytes: what malloc() aligns to */
#define HEAP_SIZE ((size_t)24 << 20)
#define SCRATCH_SIZE ((size_t)1 << 30)
#define SCRATCH ((char *)0x1000000000) /* where no kernel maps anything by itself; the same in every build */
#define APART (SCRATCH + SCRATCH_SIZE)  /* blocks that have a page each */
#define APART_SIZE SCRATCH_SIZE
#define BLOCKS ((size_t)8 << 20)

static char heap[HEAP_SIZE] __attribute__((section("snapshot.heap"), aligned(4096)));
static SAVED size_t heap_used;
int resumed SAVED;

/* Everything below belongs to the building process, and is not saved. */

enum place { GARBAGE, UNUSED, READ, WRITTEN, PLACES }; /* of a block; calls use the last two */

static struct plan {
    size_t sizes[PLACES]; /* of the parts of the heap, in bytes */
    size_t sorted;        /* whether the places tell what calls were seen to use; if not, blocks are kept apart */
    unsigned char places[BLOCKS]; /* by a block's number */
} *plan;

struct part {
    char *start;
    size_t used;
};
static struct part parts[PLACES], apart = {.start = APART};

static uint32_t *number_of[2]; /* of the block that starts at a grain of the heap, or of the two areas that are not saved */
static uint32_t *size_of[2];   /* in grains; 0 once it is freed */
static size_t blocks;

static void
fail(const char *reason)
{
    fprintf(stderr, "snapshot: %s\n", reason);
    exit(1);
}

static void *
map(void *address, size_t size)
{
    void *p = mmap(address, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (address ? MAP_FIXED_NOREPLACE : 0), -1, 0);
    if (p == MAP_FAILED)
        fail("no memory");
    return p;
}

static int
in_heap(const void *p)
{
    return (const char *)p >= heap && (const char *)p < heap + HEAP_SIZE;
}

/* Whether a block is of those that were there before the process: in a call that is watched, they are apart. */
static int
is_of_snapshot(const void *p)
{
    return in_heap(p) || ((const char *)p >= APART && (const char *)p < APART + APART_SIZE);
}

/* Prepare for the interpreter's start, with the plan that the last one wrote, if there is one. */
void
heap_open(const char *path)
{
    plan = map(NULL, sizeof *plan);
    for (int i = 0; i < 2; i++) {
        size_t grains = (i ? SCRATCH_SIZE + APART_SIZE : HEAP_SIZE) / GRAIN;
        number_of[i] = map(NULL, grains * sizeof(uint32_t));
        size_of[i] = map(NULL, grains * sizeof(uint32_t));
    }
    FILE *file = fopen(path, "rb");
    if (file) {
        if (fread(plan, 1, sizeof *plan, file) == 0)
            fail("cannot read the plan");
        fclose(file);
    }
    parts[GARBAGE].start = map(SCRATCH, SCRATCH_SIZE + APART_SIZE);
    parts[WRITTEN].start = heap;
    parts[READ].start = parts[WRITTEN].start + plan->sizes[WRITTEN];
    parts[UNUSED].start = parts[READ].start + plan->sizes[READ];
}

static size_t
grain_of(const void *p)
{
    return ((const char *)p - (in_heap(p) ? heap : SCRATCH)) / GRAIN;
}

static void *
allocate(size_t size, size_t alignment)
{
    if (blocks == BLOCKS)
        fail("more blocks than expected while Python starts");
    enum place place = plan->places[blocks];
    size_t grains = size ? (size + GRAIN - 1) / GRAIN : 1;
    /* No gaps where every page counts; and no more than was planned. */
    if (place > UNUSED && (alignment > GRAIN || parts[place].used + grains * GRAIN > plan->sizes[place]))
        place = UNUSED;
    struct part *part = &parts[place];
    char *limit = place ? heap + HEAP_SIZE : SCRATCH + SCRATCH_SIZE;
    if (place && !plan->sorted) {
        part = &apart;
        limit = APART + APART_SIZE;
        alignment = alignment < PAGE ? PAGE : alignment;
    }
    char *start = (char *)(((uintptr_t)part->start + part->used + alignment - 1) & ~(alignment - 1));
    char *end = start + grains * GRAIN;
    if (size > SCRATCH_SIZE || end > limit)
        fail("more memory than expected while Python starts");
    part->used = end - part->start;
    size_of[!in_heap(start)][grain_of(start)] = grains;
    number_of[!in_heap(start)][grain_of(start)] = blocks++;
    return start;
}

static size_t
capacity(const void *p)
{
    return (size_t)size_of[!in_heap(p)][grain_of(p)] * GRAIN;
}

/* Set to zero, so that no leftover reaches the file. */
static void
release(void *p)
{
    memset(p, 0, capacity(p));
    size_of[!in_heap(p)][grain_of(p)] = 0;
}

/* --- what Python's library calls in place of libc's --- */

void *
heap_malloc(size_t size)
{
    return resumed ? malloc(size) : allocate(size, GRAIN);
}

void *
heap_calloc(size_t count, size_t size)
{
    if (resumed)
        return calloc(count, size);
    if (size && count > SCRATCH_SIZE / size)
        return NULL;
    return allocate(count * size, GRAIN); /* memory that nobody had before is zero */
}

void
heap_free(void *p)
{
    if (!resumed) {
        if (p)
            release(p);
    } else if (!is_of_snapshot(p))
        free(p);
}

void *
heap_realloc(void *p, size_t size)
{
    if (!p)
        return heap_malloc(size);
    if (!resumed) {
        size_t old = capacity(p);
        if (size && size <= old)
            return p;
        void *q = allocate(size, GRAIN);
        memcpy(q, p, old < size ? old : size);
        release(p);
        return q;
    }
    if (!is_of_snapshot(p))
        return realloc(p, size);
    void *q = malloc(size);
    if (q) { /* its size is no longer known, but the heap is readable to its end */
        size_t rest = (in_heap(p) ? heap + heap_used : APART + APART_SIZE) - (char *)p;
        memcpy(q, p, size < rest ? size : rest);
    }
    return q;
}

/* --- Python's allocators of objects and of arenas (PyMemAllocatorEx, PyObjectArenaAllocator) --- */

static void *
object_malloc(void *Py_UNUSED(context), size_t size)
{
    return heap_malloc(size);
}

static void *
object_calloc(void *Py_UNUSED(context), size_t count, size_t size)
{
    return heap_calloc(count, size);
}

static void *
object_realloc(void *Py_UNUSED(context), void *p, size_t size)
{
    return heap_realloc(p, size);
}

static void
object_free(void *Py_UNUSED(context), void *p)
{
    heap_free(p);
}

static PyMemAllocatorEx usual[2];
static const PyMemAllocatorDomain DOMAINS[] = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};

/* Have objects, too, come from here one by one: Python's own allocator would keep them in pools of one size each. */
void
heap_allocate_objects(void)
{
    PyMemAllocatorEx ours = {NULL, object_malloc, object_calloc, object_realloc, object_free};
    for (int i = 0; i < 2; i++) {
        PyMem_GetAllocator(DOMAINS[i], &usual[i]);
        PyMem_SetAllocator(DOMAINS[i], &ours);
    }
}

static void *
arena_alloc(void *Py_UNUSED(context), size_t size)
{
    if (!resumed)
        return allocate(size, 4096);
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void
arena_free(void *Py_UNUSED(context), void *p, size_t size)
{
    if (!resumed)
        release(p);
    else if (!is_of_snapshot(p))
        munmap(p, size);
}

/* Python frames' stack is of this kind (_PyObject_VirtualAlloc), and there before the snapshot. */
void
heap_allocate_arenas(void)
{
    PyObjectArenaAllocator ours = {NULL, arena_alloc, arena_free};
    PyObject_SetArenaAllocator(&ours);
}

/* Back to Python's own allocator of objects, which has not handed out anything yet. A block of the heap that it is to
   free or to resize it takes for one that is too large for it, and asks the functions above. */
void
heap_close(void)
{
    for (int i = 0; i < 2; i++)
        PyMem_SetAllocator(DOMAINS[i], &usual[i]);
    resumed = 1;
}

char *
heap_start(void)
{
    return heap;
}

char *
heap_end(void)
{
    return heap + heap_used;
}

static void
write_plan(const char *path)
{
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(plan, offsetof(struct plan, places) + blocks, 1, file) != 1 || fclose(file))
        fail("cannot write the plan");
}

/* Whether each block that is alive is in the heap. If not, that goes into the plan. */
int
heap_is_complete(const char *path)
{
    size_t missing = 0;
    heap_used = parts[UNUSED].start + parts[UNUSED].used - heap;
    for (size_t grain = 0; grain < parts[GARBAGE].used / GRAIN; grain++)
        if (size_of[1][grain]) {
            plan->places[number_of[1][grain]] = UNUSED;
            missing++;
        }
    if (missing) {
        plan->sizes[READ] = parts[READ].used;
        plan->sizes[WRITTEN] = parts[WRITTEN].used;
        write_plan(path);
    }
    return missing == 0;
}

int
heap_is_sorted(void)
{
    return plan->sorted != 0;
}

/* The blocks that have a page each. */
char *
heap_apart(size_t *size)
{
    *size = (apart.used + PAGE - 1) / PAGE * PAGE;
    return apart.start;
}

/* Write a plan for what calls were seen to use of those, by page: 1 for what they read and 2 for what they write. */
void
heap_sort(const char *path, const unsigned char *uses)
{
    memset(plan, 0, sizeof *plan);
    for (size_t offset = 0; offset < apart.used; offset += PAGE) {
        size_t grain = grain_of(apart.start + offset), size = size_of[1][grain] * GRAIN;
        if (!size)
            continue;
        unsigned char used = 0;
        for (size_t i = 0; i < size; i += PAGE)
            used |= uses[(offset + i) / PAGE];
        enum place place = used & 2 ? WRITTEN : used ? READ : UNUSED;
        plan->places[number_of[1][grain]] = place;
        plan->sizes[place] += size;
    }
    plan->sorted = 1;
    write_plan(path);
}

/* Whether this is no address of anything that a process has: of a block that was freed, in the scratch area. */
int
heap_is_garbage(const void *p)
{
    return (const char *)p >= SCRATCH && (const char *)p < SCRATCH + SCRATCH_SIZE;
}
