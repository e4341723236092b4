import java.util.*;
import java.util.stream.*;
import org.javatuples.*;

/** What the compile server compiles a few times at its start, so that its own code is warm for the first program. */
class Problem {
    public static ArrayList<Long> doubled(ArrayList<Long> values) {
        ArrayList<Long> result = new ArrayList<>();
        for (Long value : values) {
            result.add(value * 2);
        }
        return result;
    }

    public static Optional<String> longest(ArrayList<String> words) {
        return words.stream().filter(word -> !word.isEmpty()).max(Comparator.comparingInt(String::length));
    }

    public static Map<String, Integer> counts(String text) {
        Map<String, Integer> found = new HashMap<>();
        for (String word : text.split(" ")) {
            found.merge(word, 1, Integer::sum);
        }
        return found;
    }

    public static Pair<Long, Boolean> pair(long number) {
        return Pair.with(number, IntStream.rangeClosed(1, 3).mapToObj(i -> (long) i).collect(Collectors.toList()).contains(number));
    }

    public static void main(String[] args) {
        assert(doubled((new ArrayList<Long>(Arrays.asList((long)1l, (long)2l)))).equals((new ArrayList<Long>(Arrays.asList((long)2l, (long)4l)))));
        assert(longest((new ArrayList<String>(Arrays.asList((String)"a", (String)"bc")))).equals(Optional.of("bc")));
        assert(counts(("a b a")).equals((new HashMap<String,Integer>(Map.of("a", 2, "b", 1)))));
        assert(pair((2l)).equals((Pair.with(2l, true))));
    }
}
