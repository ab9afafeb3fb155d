/* array.c: arrays, mipmapped arrays, and the objects that name them: textures and surfaces, which no kernel here reads.
 *
 * An array is a plain allocation whose address nobody is told; its rows follow each other. Handles of destroyed ones stay
 * recognisable.
 */
#include "fake.h"

#include <string.h>

enum { LEVELS = 16 };

struct CUmipmappedArray_st {
        uint32_t mark;
        CUdeviceptr base;
        unsigned levels;
        struct CUarray_st level[LEVELS];
        struct CUmipmappedArray_st *next;
};

/* A texture or surface object, by its number. */
struct view {
        CUDA_RESOURCE_DESC resource;
        CUDA_TEXTURE_DESC texture;
        bool live, surface;
};

static pthread_mutex_t array_lock = PTHREAD_MUTEX_INITIALIZER;
static CUarray arrays; /* every one ever made */
static CUmipmappedArray mipmaps;
static struct view *views;
static size_t view_count;

static unsigned format_bytes(int format)
{
        switch (format) {
        case CU_AD_FORMAT_UNSIGNED_INT8:
        case CU_AD_FORMAT_SIGNED_INT8:
                return 1;
        case CU_AD_FORMAT_UNSIGNED_INT16:
        case CU_AD_FORMAT_SIGNED_INT16:
        case CU_AD_FORMAT_HALF:
                return 2;
        case CU_AD_FORMAT_UNSIGNED_INT32:
        case CU_AD_FORMAT_SIGNED_INT32:
        case CU_AD_FORMAT_FLOAT:
                return 4;
        default:
                return 0;
        }
}

/* The array that a descriptor asks for, without memory. */
static CUresult describe(const CUDA_ARRAY3D_DESCRIPTOR *d, CUcontext c, struct CUarray_st *a)
{
        unsigned bytes = format_bytes(d->Format);

        if (!bytes || (d->NumChannels != 1 && d->NumChannels != 2 && d->NumChannels != 4) || d->Width == 0 ||
            d->Width > 1 << 20 || d->Height > 1 << 20 || d->Depth > 1 << 16 || d->Flags & ~0xffU)
                return CUDA_ERROR_INVALID_VALUE;
        *a = (struct CUarray_st){.mark = MARK_ARRAY,
                                 .device = c->device,
                                 .format = d->Format,
                                 .width = d->Width,
                                 .height = d->Height ? d->Height : 1,
                                 .depth = d->Depth ? d->Depth : 1,
                                 .row = d->Width * bytes * d->NumChannels,
                                 .asked_height = d->Height,
                                 .asked_depth = d->Depth,
                                 .channels = d->NumChannels,
                                 .flags = d->Flags};
        return CUDA_SUCCESS;
}

static uint64_t array_bytes(const struct CUarray_st *a)
{
        return a->row * a->height * a->depth;
}

static CUresult array_create(CUarray *ret, const CUDA_ARRAY3D_DESCRIPTOR *d)
{
        struct CUarray_st made;
        CUcontext c;
        CUarray a;

        TRY(need_context(&c));
        TRY(capture_forbids());
        TRY(describe(d, c, &made));
        TRY(memory_alloc(c->device, array_bytes(&made), &made.base));
        a = malloc(sizeof(*a));
        if (!a) {
                (void)memory_free(made.base);
                return CUDA_ERROR_OUT_OF_MEMORY;
        }
        *a = made;
        pthread_mutex_lock(&array_lock);
        a->next = arrays;
        arrays = a;
        pthread_mutex_unlock(&array_lock);
        *ret = a;
        return CUDA_SUCCESS;
}

API(cuArrayCreate_v2, (CUarray *ret, const CUDA_ARRAY_DESCRIPTOR *d), (ret, d))
{
        if (!ret || !d)
                return CUDA_ERROR_INVALID_VALUE;
        return array_create(ret, &(CUDA_ARRAY3D_DESCRIPTOR){.Width = d->Width,
                                                            .Height = d->Height,
                                                            .Format = d->Format,
                                                            .NumChannels = d->NumChannels});
}

API(cuArray3DCreate_v2, (CUarray *ret, const CUDA_ARRAY3D_DESCRIPTOR *d), (ret, d))
{
        return ret && d ? array_create(ret, d) : CUDA_ERROR_INVALID_VALUE;
}

API(cuArrayDestroy, (CUarray a), (a))
{
        CUcontext c;

        TRY(need_context(&c));
        TRY(capture_forbids());
        if (!a || a->mark != MARK_ARRAY || a->level)
                return CUDA_ERROR_INVALID_HANDLE;
        context_drain(c);
        a->mark = MARK_GONE;
        return memory_free(a->base);
}

API(cuArray3DGetDescriptor_v2, (CUDA_ARRAY3D_DESCRIPTOR *d, CUarray a), (d, a))
{
        TRY(need_ready());
        if (!a || a->mark != MARK_ARRAY)
                return CUDA_ERROR_INVALID_HANDLE;
        if (!d)
                return CUDA_ERROR_INVALID_VALUE;
        *d = (CUDA_ARRAY3D_DESCRIPTOR){a->width, a->asked_height, a->asked_depth, a->format, a->channels, a->flags};
        return CUDA_SUCCESS;
}

API(cuArrayGetDescriptor_v2, (CUDA_ARRAY_DESCRIPTOR *d, CUarray a), (d, a))
{
        TRY(need_ready());
        if (!a || a->mark != MARK_ARRAY)
                return CUDA_ERROR_INVALID_HANDLE;
        if (!d)
                return CUDA_ERROR_INVALID_VALUE;
        *d = (CUDA_ARRAY_DESCRIPTOR){a->width, a->asked_height, a->format, a->channels};
        return CUDA_SUCCESS;
}

/* --- mipmapped arrays --- */

static uint64_t halved(uint64_t n, unsigned times)
{
        return n >> times ? n >> times : 1;
}

API(cuMipmappedArrayCreate, (CUmipmappedArray *ret, const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned levels),
    (ret, d, levels))
{
        struct CUarray_st first;
        CUmipmappedArray m;
        uint64_t at = 0;
        CUcontext c;
        CUresult r;

        TRY(need_context(&c));
        if (!ret || !d || levels == 0 || levels > LEVELS)
                return CUDA_ERROR_INVALID_VALUE;
        TRY(capture_forbids());
        TRY(describe(d, c, &first));
        m = calloc(1, sizeof(*m));
        if (!m)
                return CUDA_ERROR_OUT_OF_MEMORY;
        for (unsigned i = 0; i < levels; i++) {
                struct CUarray_st *a = &m->level[i];

                *a = first;
                a->level = true;
                a->width = halved(first.width, i);
                a->height = halved(first.height, i);
                a->depth = halved(first.depth, i);
                a->asked_height = first.asked_height ? a->height : 0;
                a->asked_depth = first.asked_depth ? a->depth : 0;
                a->row = a->width * (first.row / first.width);
                a->base = at;
                at += (array_bytes(a) + 511) / 512 * 512;
        }
        r = memory_alloc(c->device, at, &m->base);
        if (r) {
                free(m);
                return r;
        }
        for (unsigned i = 0; i < levels; i++)
                m->level[i].base += m->base;
        m->mark = MARK_ARRAY;
        m->levels = levels;
        pthread_mutex_lock(&array_lock);
        m->next = mipmaps;
        mipmaps = m;
        pthread_mutex_unlock(&array_lock);
        *ret = m;
        return CUDA_SUCCESS;
}

API(cuMipmappedArrayGetLevel, (CUarray *ret, CUmipmappedArray m, unsigned level), (ret, m, level))
{
        TRY(need_ready());
        if (!m || m->mark != MARK_ARRAY)
                return CUDA_ERROR_INVALID_HANDLE;
        if (!ret || level >= m->levels)
                return CUDA_ERROR_INVALID_VALUE;
        *ret = &m->level[level];
        return CUDA_SUCCESS;
}

API(cuMipmappedArrayDestroy, (CUmipmappedArray m), (m))
{
        CUcontext c;

        TRY(need_context(&c));
        TRY(capture_forbids());
        if (!m || m->mark != MARK_ARRAY)
                return CUDA_ERROR_INVALID_HANDLE;
        context_drain(c);
        m->mark = MARK_GONE;
        for (unsigned i = 0; i < m->levels; i++)
                m->level[i].mark = MARK_GONE;
        return memory_free(m->base);
}

/* --- textures and surfaces --- */

static CUresult view_create(unsigned long long *ret, const CUDA_RESOURCE_DESC *resource,
                            const CUDA_TEXTURE_DESC *texture)
{
        CUresult r = CUDA_SUCCESS;
        struct view *more;
        CUcontext c;

        TRY(need_context(&c));
        if (!ret || !resource || resource->flags)
                return CUDA_ERROR_INVALID_VALUE;
        switch (resource->resType) {
        case CU_RESOURCE_TYPE_ARRAY:
                r = resource->res.array && resource->res.array->mark == MARK_ARRAY ? CUDA_SUCCESS
                                                                                   : CUDA_ERROR_INVALID_HANDLE;
                break;
        case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY:
                r = texture && resource->res.mipmap && resource->res.mipmap->mark == MARK_ARRAY
                            ? CUDA_SUCCESS
                            : CUDA_ERROR_INVALID_HANDLE;
                break;
        case CU_RESOURCE_TYPE_LINEAR:
        case CU_RESOURCE_TYPE_PITCH2D:
                pthread_rwlock_rdlock(&memory_lock);
                r = texture && range_check(resource->res.linear.devPtr, 1, c, TOUCH_READ) == CUDA_SUCCESS
                            ? CUDA_SUCCESS
                            : CUDA_ERROR_INVALID_VALUE;
                pthread_rwlock_unlock(&memory_lock);
                break;
        default:
                r = CUDA_ERROR_INVALID_VALUE;
        }
        TRY(r);
        pthread_mutex_lock(&array_lock);
        more = realloc(views, (view_count + 1) * sizeof(*views));
        if (more) {
                views = more;
                views[view_count] = (struct view){.resource = *resource, .live = true, .surface = !texture};
                if (texture)
                        views[view_count].texture = *texture;
                *ret = ++view_count;
        }
        pthread_mutex_unlock(&array_lock);
        return more ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

/* Looks one up, and ends it if that is asked for. */
static CUresult view_get(unsigned long long object, bool surface, bool end, CUDA_RESOURCE_DESC *ret_resource,
                         CUDA_TEXTURE_DESC *ret_texture)
{
        bool found;

        TRY(need_ready());
        pthread_mutex_lock(&array_lock);
        found = object > 0 && object <= view_count && views[object - 1].live && views[object - 1].surface == surface;
        if (found && ret_resource)
                *ret_resource = views[object - 1].resource;
        if (found && ret_texture)
                *ret_texture = views[object - 1].texture;
        if (found && end)
                views[object - 1].live = false;
        pthread_mutex_unlock(&array_lock);
        return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API(cuTexObjectCreate,
    (unsigned long long *ret, const CUDA_RESOURCE_DESC *resource, const CUDA_TEXTURE_DESC *texture, const void *view),
    (ret, resource, texture, view))
{
        return texture ? view_create(ret, resource, texture) : CUDA_ERROR_INVALID_VALUE;
}

API(cuTexObjectDestroy, (unsigned long long object), (object))
{
        return view_get(object, false, true, NULL, NULL);
}

API(cuTexObjectGetResourceDesc, (CUDA_RESOURCE_DESC *d, unsigned long long object), (d, object))
{
        return d ? view_get(object, false, false, d, NULL) : CUDA_ERROR_INVALID_VALUE;
}

API(cuTexObjectGetTextureDesc, (CUDA_TEXTURE_DESC *d, unsigned long long object), (d, object))
{
        return d ? view_get(object, false, false, NULL, d) : CUDA_ERROR_INVALID_VALUE;
}

API(cuSurfObjectCreate, (unsigned long long *ret, const CUDA_RESOURCE_DESC *resource), (ret, resource))
{
        if (resource && resource->resType != CU_RESOURCE_TYPE_ARRAY)
                return CUDA_ERROR_INVALID_VALUE;
        return view_create(ret, resource, NULL);
}

API(cuSurfObjectDestroy, (unsigned long long object), (object))
{
        return view_get(object, true, true, NULL, NULL);
}

API(cuSurfObjectGetResourceDesc, (CUDA_RESOURCE_DESC *d, unsigned long long object), (d, object))
{
        return d ? view_get(object, true, false, d, NULL) : CUDA_ERROR_INVALID_VALUE;
}
