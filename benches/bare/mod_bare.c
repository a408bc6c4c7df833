/* The least a content handler can do: a body read at start, given to httpd in one call. What it takes is httpd's own. */

#include <string.h>

#include <httpd.h>

#include <http_config.h>
#include <http_protocol.h>

module AP_MODULE_DECLARE_DATA bare_module;

typedef struct {
    char *bytes;
    apr_size_t length;
} bare_body;

static void *bare_create(apr_pool_t *pool, char *directory)
{
    (void)directory;
    return apr_pcalloc(pool, sizeof(bare_body));
}

static const char *bare_read(cmd_parms *command, void *directory, const char *name)
{
    bare_body *body = directory;
    apr_file_t *file;
    apr_finfo_t found;

    if (apr_file_open(&file, name, APR_FOPEN_READ, APR_OS_DEFAULT, command->temp_pool) != APR_SUCCESS ||
        apr_file_info_get(&found, APR_FINFO_SIZE, file) != APR_SUCCESS) {
        return "cannot be opened";
    }
    body->length = found.size;
    body->bytes = apr_palloc(command->pool, body->length);
    return apr_file_read_full(file, body->bytes, body->length, NULL) == APR_SUCCESS ? NULL : "cannot be read";
}

static int bare_handler(request_rec *r)
{
    const bare_body *body = ap_get_module_config(r->per_dir_config, &bare_module);

    if (!r->handler || strcmp(r->handler, "bare") != 0) {
        return DECLINED;
    }
    ap_set_content_type(r, "text/html");
    ap_set_content_length(r, body->length);
    ap_rwrite(body->bytes, (int)body->length, r);
    return OK;
}

static void bare_register_hooks(apr_pool_t *pool)
{
    (void)pool;
    ap_hook_handler(bare_handler, NULL, NULL, APR_HOOK_MIDDLE);
}

static const command_rec bare_commands[] = {
    AP_INIT_TAKE1("BareBody", bare_read, NULL, ACCESS_CONF, "The file whose bytes are the body"),
    {NULL}
};

AP_DECLARE_MODULE(bare) = {
    STANDARD20_MODULE_STUFF, bare_create, NULL, NULL, NULL, bare_commands, bare_register_hooks
};
