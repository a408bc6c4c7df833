/* Who may have a page without being asked: whether everybody gets what a request asks for, as far as httpd and its modules decide
 * that. What is looked at lies in structures of httpd's that Rust does not see. */

#include "plua_shim.h"

#include <string.h>
#include <strings.h>

#include <ap_provider.h>
#include <http_request.h>
#include <mod_auth.h>

APLOG_USE_MODULE(plua);

/* Who was let in by `Require all granted` alone was let in like everybody. So whatever else Require lines ask notes that it was
 * asked. A provider is not told its name: each is asked through a function of its own. */

#define PLUA_ASKED "plua-asked"
#define PLUA_PROVIDERS 48

static const authz_provider *plua_asked[PLUA_PROVIDERS];
static authz_provider plua_asking[PLUA_PROVIDERS];
static const char *plua_names[PLUA_PROVIDERS];
static int plua_provider_count;
static const void *plua_all_provider;

/* Whether every provider but `all` is asked so, and nobody else has a say that is not looked at. */
static int plua_hears_all;

static authz_status plua_ask(int number, request_rec *r, const char *line, const void *parsed)
{
    apr_table_setn(r->notes, PLUA_ASKED, "");
    return plua_asked[number]->check_authorization(r, line, parsed);
}

#define PLUA_ASK(n)                                                                           \
    static authz_status plua_ask_##n(request_rec *r, const char *line, const void *parsed)    \
    {                                                                                         \
        return plua_ask(0x##n, r, line, parsed);                                              \
    }
#define PLUA_16(do, n) do(n##0) do(n##1) do(n##2) do(n##3) do(n##4) do(n##5) do(n##6) do(n##7) \
    do(n##8) do(n##9) do(n##a) do(n##b) do(n##c) do(n##d) do(n##e) do(n##f)
#define PLUA_ALL(do) PLUA_16(do, 0) PLUA_16(do, 1) PLUA_16(do, 2)
#define PLUA_NAME(n) plua_ask_##n,

PLUA_ALL(PLUA_ASK)

static authz_status (*const plua_asks[PLUA_PROVIDERS])(request_rec *, const char *, const void *) = {
    PLUA_ALL(PLUA_NAME)
};

static const apr_array_header_t *plua_provider_names(apr_pool_t *pool)
{
    return ap_list_provider_names(pool, AUTHZ_PROVIDER_GROUP, AUTHZ_PROVIDER_VERSION);
}

static const void *plua_provider(const char *name)
{
    return ap_lookup_provider(AUTHZ_PROVIDER_GROUP, name, AUTHZ_PROVIDER_VERSION);
}

/* Before the configuration's lines are read, which look their providers up. */
static int plua_pre_config(apr_pool_t *config, apr_pool_t *log, apr_pool_t *temporary)
{
    const apr_array_header_t *names = plua_provider_names(temporary);
    int i;

    (void)log;
    plua_provider_count = 0;
    plua_hears_all = 0;
    plua_all_provider = plua_provider("all");
    for (i = 0; i < names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(names, i, ap_list_provider_names_t).provider_name;
        int number = plua_provider_count;

        if (strcmp(name, "all") == 0 || number == PLUA_PROVIDERS) {
            continue;
        }
        plua_asked[number] = plua_provider(name);
        plua_asking[number] = *plua_asked[number];
        plua_asking[number].check_authorization = plua_asks[number];
        plua_names[number] = apr_pstrdup(config, name);
        if (ap_register_provider(config, AUTHZ_PROVIDER_GROUP, plua_names[number], AUTHZ_PROVIDER_VERSION,
                                 &plua_asking[number]) == APR_SUCCESS) {
            plua_provider_count++;
        }
    }
    return OK;
}

/* Sections whose lines hold for a place: those are looked at with each request. */
static int plua_is_of_place(const char *section)
{
    static const char *const places[] = {
        "<Directory", "<DirectoryMatch", "<Location", "<LocationMatch", "<Files", "<FilesMatch", "<If", "<ElseIf", "<Else",
        "<Proxy", "<ProxyMatch", "<Limit", "<LimitExcept", NULL
    };
    const char *const *place;

    for (place = places; *place; place++) {
        if (strcasecmp(section, *place) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Whether a line of that name stands in the configuration: anywhere, or where it holds for a whole server. One that ends in `but`
 * does not count. */
static int plua_finds(const ap_directive_t *line, const char *name, int in_places, const char *but)
{
    for (; line; line = line->next) {
        size_t length = strlen(line->args), end = strlen(but);
        int is_counted = !end || length < end || strcasecmp(line->args + length - end, but) != 0;

        if (is_counted && strcasecmp(line->directive, name) == 0) {
            return 1;
        }
        if ((in_places || !plua_is_of_place(line->directive)) && plua_finds(line->first_child, name, in_places, but)) {
            return 1;
        }
    }
    return 0;
}

/* Modules that may have a say between the reading of a request and its page: what they say is the same for all who ask for one
 * address, or looked at with the request that a page is kept for; but for these lines, where they hold for a whole server. */
typedef struct {
    const char *module, *line, *but;
} plua_bystander;

static const plua_bystander plua_lines[] = {
    { "mod_headers.c", "RequestHeader", " early" },
    { "mod_rewrite.c", "RewriteRule", "" },
    { "mod_ssl.c", "SSLVerifyClient", "none" },
};

static const char *const plua_known[] = {
    "core.c", "http_core.c", "mod_access_compat.c", "mod_actions.c", "mod_alias.c", "mod_allowmethods.c", "mod_auth_basic.c",
    "mod_auth_digest.c", "mod_auth_form.c", "mod_authn_core.c", "mod_authz_core.c", "mod_dav.c", "mod_dir.c", "mod_env.c",
    "mod_headers.c", "mod_http2.c", "mod_include.c", "mod_mime.c", "mod_mime_magic.c", "mod_negotiation.c", "mod_plua.c",
    "mod_proxy.c", "mod_rewrite.c", "mod_setenvif.c", "mod_speling.c", "mod_ssl.c", "mod_userdir.c", "mod_vhost_alias.c", NULL
};

static int plua_is_among(const char *name, const char *const *names)
{
    for (; *names; names++) {
        if (strcmp(*names, name) == 0) {
            return 1;
        }
    }
    return 0;
}

static int plua_is_known(const char *module)
{
    size_t i;

    for (i = 0; i < sizeof(plua_lines) / sizeof(*plua_lines); i++) {
        if (strcmp(plua_lines[i].module, module) == 0 && plua_finds(ap_conftree, plua_lines[i].line, 0, plua_lines[i].but)) {
            return 0;
        }
    }
    return plua_is_among(module, plua_known);
}

/* What all lists of hooks consist of, whatever a hook is called with. */
typedef ap_LINK_fixups_t plua_link;

/* The first module httpd asks between its quick handlers and its filters that is not known, or NULL: it may refuse a request, or
 * answer it, for a reason that nobody else sees, such as what else its client has asked for. */
static const char *plua_unknown(void)
{
    apr_array_header_t *(*const lists[])(void) = {
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 109)
        ap_hook_get_pre_translate_name,
#endif
        ap_hook_get_translate_name, ap_hook_get_map_to_storage, ap_hook_get_post_perdir_config, ap_hook_get_header_parser,
        ap_hook_get_access_checker, ap_hook_get_access_checker_ex, ap_hook_get_check_user_id, ap_hook_get_auth_checker,
        ap_hook_get_type_checker, ap_hook_get_fixups,
    };
    size_t i;
    int j;

    for (i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
        const apr_array_header_t *list = lists[i]();

        for (j = 0; list && j < list->nelts; j++) {
            const char *module = APR_ARRAY_IDX(list, j, plua_link).szName;

            if (!module || !plua_is_known(module)) {
                return module ? module : "a module without a name";
            }
        }
    }
    return NULL;
}

/* Whether AllowOverrideList stands anywhere. */
static int plua_has_override_list;

/* A provider that came or changed meanwhile is not heard of when it is asked. */
void plua_look_at_configuration(apr_pool_t *temporary, const server_rec *tells)
{
    const apr_array_header_t *names = plua_provider_names(temporary);
    const char *unknown = plua_unknown();
    int i, number;

    if (unknown && tells) {
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, tells,
                     PLUA_UNKNOWN_AUTHORITY
                     "pages of plua.cachePage are sent when httpd has let each request in, and not before: %s may have a say",
                     unknown);
    }
    plua_has_override_list = plua_finds(ap_conftree, "AllowOverrideList", 1, "");
    plua_hears_all = !unknown;
    for (i = 0; i < names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(names, i, ap_list_provider_names_t).provider_name;
        const void *provider = plua_provider(name);

        for (number = 0; number < plua_provider_count && provider != &plua_asking[number]; number++) {
        }
        if (number == plua_provider_count && (strcmp(name, "all") != 0 || provider != plua_all_provider)) {
            plua_hears_all = 0;
        }
    }
}

/* Modules whose lines for a place change neither who gets a page nor what filters make of it; what core and mod_authz_core say is
 * looked at otherwise. */
static const char *const plua_harmless[] = {
    "core.c", "mod_authz_core.c", "mod_autoindex.c", "mod_dir.c", "mod_mime.c", "mod_negotiation.c", "mod_plua.c", NULL
};

/* Whether no module has anything to say of this place that it does not say of the whole server, which is all that holds before a
 * request is mapped. A place of which a module says nothing has the server's own record of that. */
static int plua_is_like_server(request_rec *r)
{
    const core_dir_config *here = ap_get_core_module_config(r->per_dir_config);
    const core_dir_config *server = ap_get_core_module_config(r->server->lookup_defaults);
    const char *charset = here->add_default_charset_name, *of_server = server->add_default_charset_name;
    const allow_options_t includes = OPT_INCLUDES | OPT_INC_WITH_EXEC;
    const module *m;

    for (m = ap_top_module; m; m = m->next) {
        if (!plua_is_among(m->name, plua_harmless)
            && ap_get_module_config(r->per_dir_config, m) != ap_get_module_config(r->server->lookup_defaults, m)) {
            return 0;
        }
    }
    return !here->sec_if && here->output_filters == server->output_filters
           && here->add_default_charset == server->add_default_charset
           && (charset == of_server || (charset && of_server && strcmp(charset, of_server) == 0))
           && here->max_ranges == server->max_ranges && here->max_overlaps == server->max_overlaps
           && here->max_reversals == server->max_reversals && ((here->opts ^ server->opts) & includes) == 0;
}

/* Whether a .htaccess may have a say on the way to the page: it may come, or change, without a restart. httpd notes each folder
 * in which it has looked for one, with what AllowOverride says there, but not with what AllowOverrideList does. */
static int plua_has_htaccess(request_rec *r)
{
    const core_dir_config *here = ap_get_core_module_config(r->per_dir_config);
    const struct htaccess_result *looked;

    for (looked = r->htaccess; looked; looked = looked->next) {
        if (looked->htaccess || (looked->override & OR_ALL) || plua_has_override_list) {
            return 1;
        }
    }
    return (here->override & OR_ALL) || (here->override_list && !apr_is_empty_table(here->override_list));
}

/* Whether the request's own path leads to the page, or to the index of the folder that it names, and nobody has chosen it among
 * several by what the request says. */
static int plua_is_where_asked(request_rec *r)
{
    const char *asked = r->parsed_uri.path;
    apr_size_t length = asked ? strlen(asked) : 0;

    return length && r->uri && strncmp(r->uri, asked, length) == 0
           && (!r->uri[length] || (asked[length - 1] == '/' && !strchr(r->uri + length, '/')))
           && !r->content_languages && !apr_table_get(r->headers_out, "Vary") && !apr_table_get(r->err_headers_out, "Vary");
}

int plua_was_asked(const request_rec *r)
{
    return r->user || apr_table_get(r->notes, PLUA_ASKED);
}

int plua_is_public(request_rec *r)
{
    return plua_hears_all && !r->main && !r->prev && !r->user && !r->content_encoding
           && r->proxyreq == PROXYREQ_NONE && !apr_table_get(r->notes, PLUA_ASKED) && !plua_document_root(r)
           && !plua_has_htaccess(r) && plua_is_where_asked(r) && plua_is_like_server(r);
}

void plua_public_register_hooks(void)
{
    /* After other modules, which may bring providers. */
    ap_hook_pre_config(plua_pre_config, NULL, NULL, APR_HOOK_REALLY_LAST);
}
