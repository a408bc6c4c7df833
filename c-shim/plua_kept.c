/* Kept pages before httpd looks at a request: the quick handler, and the filters of their responses. */

#include "plua_shim.h"

#include <string.h>

#include <apr_buckets.h>
#include <http_request.h>
#include <util_filter.h>

static int plua_quick_handler(request_rec *r, int is_lookup)
{
    if (is_lookup || r->method_number != M_GET || r->main || r->prev) {
        return DECLINED;
    }
    return plua_rs_quick(r, ap_get_module_config(r->server->module_config, &plua_module));
}

apr_uint64_t plua_filters(request_rec *r)
{
    const ap_filter_t *filter;
    apr_uint64_t all = 14695981039346656037u;

    for (filter = r->output_filters; filter && filter != r->connection->output_filters; filter = filter->next) {
        const char *name = filter->frec->name;

        /* Those of the protocol are the connection's. */
        if (filter->frec->ftype >= AP_FTYPE_PROTOCOL && filter->frec->ftype <= AP_FTYPE_TRANSCODE) {
            continue;
        }
        if (strstr(name, "includes")) {
            return 0; /* makes another response of the page for each request */
        }
        do {
            all = (all ^ (unsigned char)*name) * 1099511628211u;
        } while (*name++);
    }
    return all | 1;
}

/* As httpd begins each filter before a handler runs. */
static int plua_begin_filters(request_rec *r)
{
    ap_filter_t *filter;

    for (filter = r->output_filters; filter; filter = filter->next) {
        if (filter->frec->filter_init_func && filter->frec->filter_init_func(filter) != OK) {
            return 0;
        }
    }
    return 1;
}

/* Takes out what was put in since. */
static void plua_remove_filters(request_rec *r, const apr_array_header_t *before)
{
    ap_filter_t *filter, *next;
    int i;

    for (filter = r->output_filters; filter && filter != r->connection->output_filters; filter = next) {
        next = filter->next;
        for (i = 0; i < before->nelts && APR_ARRAY_IDX(before, i, ap_filter_t *) != filter; i++) {
        }
        if (i == before->nelts) {
            ap_remove_output_filter(filter);
        }
    }
}

int plua_insert_filters(request_rec *r, apr_uint64_t expected)
{
    apr_array_header_t *before = apr_array_make(r->pool, 8, sizeof(ap_filter_t *));
    const char *range = apr_table_get(r->headers_in, "Range");
    ap_filter_t *filter;

    for (filter = r->output_filters; filter && filter != r->connection->output_filters; filter = filter->next) {
        APR_ARRAY_PUSH(before, ap_filter_t *) = filter;
    }
    ap_run_insert_filter(r);
    if (plua_filters(r) == expected && plua_begin_filters(r)) {
        return 1;
    }
    plua_remove_filters(r, before);
    if (range) {
        /* mod_filter takes it away for some filters. */
        apr_table_setn(r->headers_in, "Range", range);
    }
    return 0;
}

apr_status_t plua_pass_kept(request_rec *r, const char *bytes, apr_size_t length)
{
    apr_bucket_alloc_t *buckets = r->connection->bucket_alloc;
    apr_bucket_brigade *brigade = apr_brigade_create(r->pool, buckets);

    if (length) {
        APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_pool_create(bytes, length, r->pool, buckets));
    }
    APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_eos_create(buckets));
    return ap_pass_brigade(r->output_filters, brigade);
}

void plua_kept_register_hooks(void)
{
    ap_hook_quick_handler(plua_quick_handler, NULL, NULL, APR_HOOK_MIDDLE);
}
