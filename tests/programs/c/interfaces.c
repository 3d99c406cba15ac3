/* What a program sees of interfaces, by each of the ways to ask: one line an entry. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char *shown(const struct sockaddr *address, char *text) {
    if (address == NULL) return "-";
    if (address->sa_family != AF_INET && address->sa_family != AF_INET6) return "link";
    socklen_t length = address->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    return getnameinfo(address, length, text, NI_MAXHOST, NULL, 0, NI_NUMERICHOST) ? "?" : text;
}

int main(void) {
    struct ifaddrs *list;
    char a[NI_MAXHOST], b[NI_MAXHOST], c[NI_MAXHOST], name[IF_NAMESIZE];
    if (getifaddrs(&list) != 0) return 1;
    for (struct ifaddrs *entry = list; entry; entry = entry->ifa_next)
        printf("%s %s %s %s %s\n", entry->ifa_name, shown(entry->ifa_addr, a), shown(entry->ifa_netmask, b),
               entry->ifa_flags & IFF_BROADCAST ? shown(entry->ifa_broadaddr, c) : "-",
               entry->ifa_flags & IFF_UP ? "up" : "down");
    freeifaddrs(list);
    struct if_nameindex *named = if_nameindex();
    for (struct if_nameindex *entry = named; entry->if_index; entry++)
        printf("%u %s %u %s\n", entry->if_index, entry->if_name, if_nametoindex(entry->if_name),
               if_indextoname(entry->if_index, name));
    if_freenameindex(named);
    unsigned none = if_nametoindex("none0");
    printf("%u %s\n", none, strerror(errno));
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq room[8], request;
    struct ifconf all = {.ifc_len = sizeof room, .ifc_req = room};
    if (ioctl(fd, SIOCGIFCONF, &all) != 0) return 1;
    for (int i = 0; i < (int)(all.ifc_len / sizeof *room); i++) {
        request = room[i];
        printf("%s %s", request.ifr_name, shown(&request.ifr_addr, a));
        ioctl(fd, SIOCGIFNETMASK, &request);
        printf(" %s", shown(&request.ifr_netmask, a));
        ioctl(fd, SIOCGIFMTU, &request);
        printf(" mtu %d\n", request.ifr_mtu);
    }
    request.ifr_flags = 0;
    int changed = ioctl(fd, SIOCSIFFLAGS, &request);
    printf("%d %s\n", changed, strerror(errno));
    return 0;
}
