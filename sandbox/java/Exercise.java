import java.util.*;
import java.lang.reflect.*;
import org.javatuples.*;
import java.security.*;
import java.math.*;
import java.io.*;
import java.util.function.*;
import java.util.regex.*;
import java.util.stream.*;

/** What the compile server compiles at its start: so its own code is warm, and it knows the classes of the platform. */
class Problem {
    interface Shape {
        double area();
    }

    enum Colour { RED, GREEN }

    static class Circle implements Shape, Comparable<Circle> {
        private final double radius;

        Circle(double radius) {
            this.radius = radius;
        }

        @Override
        public double area() {
            return Math.PI * Math.pow(radius, 2);
        }

        @Override
        public int compareTo(Circle other) {
            return Double.compare(radius, other.radius);
        }
    }

    public static ArrayList<Long> doubled(ArrayList<Long> values) {
        ArrayList<Long> result = new ArrayList<>();
        for (Long value : values) {
            result.add(value * 2);
        }
        for (int i = 0; i < values.size() && i < 10; i++) {
            result.set(i, Math.max(result.get(i), values.get(i)));
        }
        Collections.sort(result, (a, b) -> a.compareTo(b));
        Collections.reverse(result);
        return result;
    }

    public static Optional<String> longest(ArrayList<String> words) {
        return words.stream().filter(word -> !word.isEmpty()).max(Comparator.comparingInt(String::length).thenComparing(Comparator.naturalOrder()));
    }

    public static Map<String, Integer> counts(String text) {
        Map<String, Integer> found = new HashMap<>();
        for (String word : text.trim().toLowerCase().split("\\s+")) {
            found.merge(word, 1, Integer::sum);
            found.put(word, found.getOrDefault(word, 0) + 0);
        }
        for (Map.Entry<String, Integer> entry : new TreeMap<>(found).entrySet()) {
            if (entry.getValue() == 0 || !found.containsKey(entry.getKey())) {
                found.remove(entry.getKey());
            }
        }
        return found;
    }

    public static String letters(String text) {
        StringBuilder builder = new StringBuilder();
        Deque<Character> stack = new ArrayDeque<>();
        Set<Character> seen = new LinkedHashSet<>();
        for (char letter : text.toCharArray()) {
            if (Character.isLetter(letter) && seen.add(letter)) {
                stack.push(Character.isUpperCase(letter) ? Character.toLowerCase(letter) : (char) (letter + 1));
            }
        }
        while (!stack.isEmpty()) {
            builder.append(stack.pop()).append(", ").insert(0, "-");
        }
        Matcher matcher = Pattern.compile("[a-z]+").matcher(builder);
        return matcher.find() ? matcher.group() + builder.reverse().toString().substring(1) + text.charAt(0) : String.join(" ", List.of("a"));
    }

    public static List<Integer> numbers(int limit) {
        int[] squares = IntStream.rangeClosed(1, limit).map(n -> n * n).filter(n -> n % 2 == 0).toArray();
        Integer[] boxed = Arrays.stream(squares).boxed().toArray(Integer[]::new);
        Arrays.sort(boxed, Collections.reverseOrder());
        List<Integer> sorted = Arrays.asList(boxed).stream().sorted().distinct().limit(3).collect(Collectors.toList());
        Map<Boolean, Long> parity = sorted.stream().collect(Collectors.groupingBy(n -> n % 2 == 0, Collectors.counting()));
        double mean = sorted.stream().mapToInt(Integer::intValue).average().orElse(0.0);
        return mean > parity.size() ? sorted : new LinkedList<>(sorted);
    }

    public static String digest(String text) {
        try {
            byte[] bytes = MessageDigest.getInstance("MD5").digest(text.getBytes());
            return String.format("%032x", new BigInteger(1, bytes)) + new BigDecimal("1.5").setScale(1, RoundingMode.HALF_UP);
        } catch (NoSuchAlgorithmException e) {
            throw new RuntimeException(e);
        }
    }

    public static long switched(Colour colour, String name, long number) {
        long sum = 0;
        do {
            sum += number % 10 ^ number >> 1;
            number /= 10;
        } while (number > 0);
        switch (name) {
            case "one":
                return 1;
            default:
                break;
        }
        return switch (colour) {
            case RED -> sum;
            case GREEN -> Long.parseLong("1" + sum) + Integer.valueOf(name).intValue();
        };
    }

    public static Pair<Long, Boolean> pair(long number) {
        PriorityQueue<Circle> queue = new PriorityQueue<>();
        queue.add(new Circle(number));
        Shape shape = queue.poll();
        Function<Double, Long> round = Math::round;
        if (shape instanceof Circle circle && circle.area() < 0) {
            throw new IllegalArgumentException("area " + round.apply(circle.area()) + " of " + circle);
        }
        return Pair.with(number, IntStream.rangeClosed(1, 3).mapToObj(i -> (long) i).collect(Collectors.toList()).contains(number));
    }

    public static void main(String[] args) {
        assert(doubled((new ArrayList<Long>(Arrays.asList((long)1l, (long)2l)))).equals((new ArrayList<Long>(Arrays.asList((long)2l, (long)4l)))));
        assert(longest((new ArrayList<String>(Arrays.asList((String)"a", (String)"bc")))).equals(Optional.of("bc")));
        assert(counts(("a b a")).equals((new HashMap<String,Integer>(Map.of("a", 2, "b", 1)))));
        assert(letters(("aBc")).equals(("x")));
        assert(pair((2l)).equals((Pair.with(2l, true))));
        System.out.println(numbers(10) + digest("x") + switched(Colour.RED, "1", 12l));
    }
}
