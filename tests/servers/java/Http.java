import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.Arrays;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;

/** `Http server PORT`, or `Http client URL`, which prints how many of 200 answers were right. */
public class Http {
    static final byte[] BODY = body();

    static byte[] body() {
        byte[] body = new byte[100_000];
        for (int index = 0; index < body.length; index++) {
            body[index] = (byte) (index * 31 + index / 251);
        }
        return body;
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("server")) {
            serve(Integer.parseInt(arguments[1]));
        } else {
            ask(URI.create(arguments[1]));
        }
    }

    static void serve(int port) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress("0.0.0.0", port), 128);
        server.createContext("/", exchange -> {
            exchange.sendResponseHeaders(200, BODY.length);
            try (var stream = exchange.getResponseBody()) {
                stream.write(BODY);
            }
        });
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
        System.out.println("serving");
    }

    static void ask(URI address) throws Exception {
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        HttpRequest request = HttpRequest.newBuilder(address).build();
        var threads = Executors.newFixedThreadPool(10);
        Callable<Boolean> one = () ->
            Arrays.equals(client.send(request, HttpResponse.BodyHandlers.ofByteArray()).body(), BODY);
        int right = 0;
        for (Future<Boolean> answer : threads.invokeAll(IntStream.range(0, 200).mapToObj(number -> one).toList())) {
            right += answer.get() ? 1 : 0;
        }
        System.out.println(right);
        System.exit(0);
    }
}
