/* What programs ask about interfaces, of the loopback alone: the others are the machine's, or the link's. */
#include "parity.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <net/if_arp.h>

static const char *flags_named(unsigned flags)
{
    return label("%s%s%s%s", flags & IFF_UP ? "UP " : "", flags & IFF_LOOPBACK ? "LOOPBACK " : "", flags & IFF_RUNNING ? "RUNNING " : "",
                 flags & IFF_MULTICAST ? "MULTICAST" : "");
}

static const char *text_of(const struct sockaddr *address)
{
    union address copy;

    if (!address)
        return "none";
    if (address->sa_family != AF_INET && address->sa_family != AF_INET6)
        return label("family %d", address->sa_family);
    memset(&copy, 0, sizeof copy);
    memcpy(&copy, address, address->sa_family == AF_INET ? sizeof copy.v4 : sizeof copy.v6);
    return address_named(&copy, length_of(&copy));
}

static void addresses(void)
{
    struct ifaddrs *list, *each;
    int v4 = 0, v6 = 0, packets = 0;

    fact("getifaddrs", "%s", outcome(getifaddrs(&list)));
    for (each = list; each; each = each->ifa_next) {
        int family = each->ifa_addr ? each->ifa_addr->sa_family : AF_UNSPEC;

        if (strcmp(each->ifa_name, "lo"))
            continue;
        if (family == AF_PACKET)
            packets++;
        if (family == AF_INET) {
            fact(label("lo, IPv4 %d", v4), "%s", text_of(each->ifa_addr));
            fact(label("lo, IPv4 %d, mask", v4), "%s", text_of(each->ifa_netmask));
            fact(label("lo, IPv4 %d, flags", v4++), "%s", flags_named(each->ifa_flags));
        }
        if (family == AF_INET6) {
            fact(label("lo, IPv6 %d", v6), "%s", text_of(each->ifa_addr));
            fact(label("lo, IPv6 %d, mask", v6++), "%s", text_of(each->ifa_netmask));
        }
    }
    fact("lo, of AF_PACKET", "%d", packets);
    freeifaddrs(list);
}

static void names(void)
{
    char name[IF_NAMESIZE] = "";
    struct if_nameindex *list = if_nameindex();
    int found = 0;

    fact("if_nametoindex", "%u", if_nametoindex("lo"));
    fact("if_indextoname", "%s", if_indextoname(1, name) ? name : errno_named(errno));
    fact("if_nametoindex of nobody", "%u, %s", if_nametoindex("nobody"), errno_named(errno));
    fact("if_indextoname of nobody", "%d, %s", if_indextoname(4711, name) != NULL, errno_named(errno));
    for (struct if_nameindex *each = list; each && each->if_index; each++)
        found += each->if_index == 1 && !strcmp(each->if_name, "lo");
    fact("if_nameindex has lo", "%d", found);
    if_freenameindex(list);
}

static void asked(int type)
{
    static const struct {
        unsigned long request;
        const char *name;
    } ADDRESSES[] = {{SIOCGIFADDR, "SIOCGIFADDR"}, {SIOCGIFNETMASK, "SIOCGIFNETMASK"}};
    int fd = (int)MUST(socket(AF_INET, type, 0));
    struct ifreq request;

    for (int i = 0; i < 2; i++) {
        memset(&request, 0, sizeof request);
        strcpy(request.ifr_name, "lo");
        fact(ADDRESSES[i].name, "%s", outcome(ioctl(fd, ADDRESSES[i].request, &request)));
        fact(label("%s, address", ADDRESSES[i].name), "%s", text_of(&request.ifr_addr));
    }
    memset(&request, 0, sizeof request);
    strcpy(request.ifr_name, "lo");
    fact("SIOCGIFFLAGS", "%s", outcome(ioctl(fd, SIOCGIFFLAGS, &request)));
    fact("SIOCGIFFLAGS, flags", "%s", flags_named((unsigned short)request.ifr_flags));
    fact("SIOCGIFMTU", "%s", outcome(ioctl(fd, SIOCGIFMTU, &request)));
    fact("SIOCGIFMTU, says something", "%d", request.ifr_mtu >= 1280);
    fact("SIOCGIFINDEX", "%s", outcome(ioctl(fd, SIOCGIFINDEX, &request)));
    fact("SIOCGIFINDEX, index", "%d", request.ifr_ifindex);
    fact("SIOCGIFHWADDR", "%s", outcome(ioctl(fd, SIOCGIFHWADDR, &request)));
    fact("SIOCGIFHWADDR, kind", "%d", request.ifr_hwaddr.sa_family == ARPHRD_LOOPBACK);
    request.ifr_ifindex = 1;
    fact("SIOCGIFNAME", "%s", outcome(ioctl(fd, SIOCGIFNAME, &request)));
    fact("SIOCGIFNAME, name", "%s", request.ifr_name);
    strcpy(request.ifr_name, "nobody");
    fact("SIOCGIFADDR of nobody", "%s", outcome(ioctl(fd, SIOCGIFADDR, &request)));
}

static void asked_of_datagram(void)
{
    asked(SOCK_DGRAM);
}

static void asked_of_stream(void)
{
    asked(SOCK_STREAM);
}

static void configuration(void)
{
    int fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0)), found = 0;
    struct ifreq requests[16];
    struct ifconf all = {.ifc_len = sizeof requests, .ifc_req = requests};

    fact("SIOCGIFCONF", "%s", outcome(ioctl(fd, SIOCGIFCONF, &all)));
    for (int i = 0; i < all.ifc_len / (int)sizeof *requests; i++)
        if (!strcmp(requests[i].ifr_name, "lo"))
            fact(label("lo %d", found++), "%s", text_of(&requests[i].ifr_addr));
    all = (struct ifconf){.ifc_len = 0, .ifc_req = NULL};
    fact("room that is needed", "%s", outcome(ioctl(fd, SIOCGIFCONF, &all)));
    fact("room that is needed, says something", "%d", all.ifc_len >= (int)sizeof *requests);
}

const struct parity_case cases[] = {
    {"addresses", addresses},
    {"names", names},
    {"asked_of_datagram", asked_of_datagram},
    {"asked_of_stream", asked_of_stream},
    {"configuration", configuration},
    {NULL, NULL},
};
