/* Names without a name server: localhost, numbers, services, and the way back. tests/resolver_parity.rs has the rest. */
#include "parity.h"

#include <netdb.h>

static const char *error_named(int error)
{
    switch (error) {
    case 0:
        return "ok";
    case EAI_NONAME:
        return "EAI_NONAME";
    case EAI_SERVICE:
        return "EAI_SERVICE";
    case EAI_FAMILY:
        return "EAI_FAMILY";
    case EAI_SOCKTYPE:
        return "EAI_SOCKTYPE";
    case EAI_BADFLAGS:
        return "EAI_BADFLAGS";
    case EAI_OVERFLOW:
        return "EAI_OVERFLOW";
    case EAI_ADDRFAMILY:
        return "EAI_ADDRFAMILY";
    case EAI_AGAIN:
        return "EAI_AGAIN";
    default:
        return label("EAI %d", error);
    }
}

static void look_up(const char *what, const char *node, const char *service, struct addrinfo hints)
{
    struct addrinfo *list = NULL;
    int error = getaddrinfo(node, service, &hints, &list), number = 0;

    fact(what, "%s", error_named(error));
    if (error)
        return;
    for (struct addrinfo *each = list; each; each = each->ai_next) {
        char host[64] = "", port[16] = "";

        getnameinfo(each->ai_addr, each->ai_addrlen, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
        fact(label("%s, answer %d", what, number++), "%s port %s, type %d, protocol %d%s%s", host, port, each->ai_socktype,
             each->ai_protocol, each->ai_canonname ? ", name " : "", each->ai_canonname ? each->ai_canonname : "");
    }
    freeaddrinfo(list);
}

static void numeric(void)
{
    look_up("IPv4", "192.0.2.1", "80", (struct addrinfo){.ai_socktype = SOCK_STREAM});
    look_up("IPv4, all types", "192.0.2.1", NULL, (struct addrinfo){0});
    look_up("IPv4, short forms", "127.1", "80", (struct addrinfo){.ai_socktype = SOCK_STREAM});
    look_up("IPv4, hexadecimal", "0x7f000001", NULL, (struct addrinfo){.ai_socktype = SOCK_DGRAM});
    look_up("IPv6", "2001:db8::1", "443", (struct addrinfo){.ai_socktype = SOCK_STREAM});
    look_up("IPv6, scope", "fe80::1%lo", NULL, (struct addrinfo){.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST});
    look_up("IPv6, of IPv4 only", "::1", NULL, (struct addrinfo){.ai_family = AF_INET});
    look_up("IPv4, of IPv6 only", "127.0.0.1", NULL, (struct addrinfo){.ai_family = AF_INET6});
    look_up("mapped", "127.0.0.1", "1", (struct addrinfo){.ai_family = AF_INET6, .ai_flags = AI_V4MAPPED, .ai_socktype = SOCK_STREAM});
    look_up("not numeric", "localhost", NULL, (struct addrinfo){.ai_flags = AI_NUMERICHOST});
    look_up("canonical", "127.0.0.1", NULL, (struct addrinfo){.ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM});
}

static void nobody(void)
{
    look_up("passive", NULL, "80", (struct addrinfo){.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM});
    look_up("active", NULL, "80", (struct addrinfo){.ai_socktype = SOCK_STREAM});
    look_up("nothing at all", NULL, NULL, (struct addrinfo){0});
    look_up("no such flag", "127.0.0.1", NULL, (struct addrinfo){.ai_flags = 0x40000000});
    look_up("no such family", "127.0.0.1", NULL, (struct addrinfo){.ai_family = 99});
    look_up("no such type", "127.0.0.1", NULL, (struct addrinfo){.ai_socktype = 99});
    look_up("type and protocol", "127.0.0.1", NULL, (struct addrinfo){.ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_UDP});
    look_up("canonical name of nobody", NULL, "80", (struct addrinfo){.ai_flags = AI_CANONNAME});
}

static void services(void)
{
    look_up("http", "127.0.0.1", "http", (struct addrinfo){.ai_socktype = SOCK_STREAM});
    look_up("domain", "127.0.0.1", "domain", (struct addrinfo){.ai_socktype = SOCK_DGRAM});
    look_up("no such service", "127.0.0.1", "nobodys", (struct addrinfo){.ai_socktype = SOCK_STREAM});
    look_up("not numeric", "127.0.0.1", "http", (struct addrinfo){.ai_flags = AI_NUMERICSERV});
    look_up("out of range", "127.0.0.1", "65536", (struct addrinfo){.ai_socktype = SOCK_STREAM});
}

static void localhost(void)
{
    look_up("IPv4", "localhost", "80", (struct addrinfo){.ai_family = AF_INET, .ai_socktype = SOCK_STREAM});
    look_up("canonical", "localhost", NULL, (struct addrinfo){.ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_flags = AI_CANONNAME});
}

static void backwards(void)
{
    union address address = loopback(AF_INET, htons(80));
    char host[64] = "", service[16] = "";

    fact("of 127.0.0.1", "%s",
         error_named(getnameinfo(&address.any, sizeof address.v4, host, sizeof host, service, sizeof service, 0)));
    fact("of 127.0.0.1, names", "%s %s", host, service);
    fact("numeric", "%s",
         error_named(getnameinfo(&address.any, sizeof address.v4, host, sizeof host, service, sizeof service, NI_NUMERICHOST | NI_NUMERICSERV)));
    fact("numeric, names", "%s %s", host, service);
    fact("little room", "%s", error_named(getnameinfo(&address.any, sizeof address.v4, host, 4, NULL, 0, NI_NUMERICHOST)));
    fact("short address", "%s", error_named(getnameinfo(&address.any, 4, host, sizeof host, NULL, 0, 0)));
    fact("nothing asked", "%s", error_named(getnameinfo(&address.any, sizeof address.v4, NULL, 0, NULL, 0, 0)));
    address.any.sa_family = AF_UNSPEC;
    fact("no such family", "%s", error_named(getnameinfo(&address.any, sizeof address.v4, host, sizeof host, NULL, 0, 0)));
}

static void older(void)
{
    struct hostent *host = gethostbyname("localhost");
    struct in_addr loop = {htonl(INADDR_LOOPBACK)};
    char text[INET_ADDRSTRLEN] = "";

    fact("gethostbyname", "%s", host ? host->h_name : "none");
    if (host)
        fact("gethostbyname, address", "%s", inet_ntop(AF_INET, host->h_addr_list[0], text, sizeof text));
    host = gethostbyname("192.0.2.9");
    fact("gethostbyname of a number", "%s", host ? host->h_name : "none");
    host = gethostbyaddr(&loop, sizeof loop, AF_INET);
    fact("gethostbyaddr", "%s", host ? host->h_name : "none");
    fact("getservbyname", "%d", ntohs((uint16_t)getservbyname("https", "tcp")->s_port));
    fact("getprotobyname", "%d", getprotobyname("tcp")->p_proto);
}

const struct parity_case cases[] = {
    {"numeric", numeric},
    {"nobody", nobody},
    {"services", services},
    {"localhost", localhost},
    {"backwards", backwards},
    {"older", older},
    {NULL, NULL},
};
