import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;

public class Main {
	record Point(int x, int y) {}

	public static void main(String[] args) throws Exception {
		System.out.println(args.length + " " + new Point(1, 2));
		ExecutorService pool = Executors.newFixedThreadPool(4);
		List<Future<Integer>> all = IntStream.range(0, 8).mapToObj(i -> pool.submit(() -> i * i))
			.collect(Collectors.toList());
		int sum = 0;
		for (Future<Integer> f : all)
			sum += f.get();
		pool.shutdown();
		System.out.println(sum);
		Path file = Files.createTempFile("k", ".txt");
		Files.writeString(file, "line\n".repeat(1000));
		System.out.println(Files.lines(file).count());
		Files.delete(file);
		Process p = new ProcessBuilder("echo", "through").start();
		System.out.println(new String(p.getInputStream().readAllBytes()).trim());
	}
}
