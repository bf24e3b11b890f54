// Writes what RE2/J, which Apache Kafka resolves topic patterns with, says of patterns and names, for two
// fixtures of src/group/regex/:
//
//     java -cp "$KAFKA_LIBS/*" tests/apache-kafka/Patterns.java classes > src/group/regex/fixtures/unicode-classes.txt
//     java -cp "$KAFKA_LIBS/*" tests/apache-kafka/Patterns.java truth FILE > src/group/regex/fixtures/re2j-1.8.txt
//
// classes: a line for each name that \p{..} takes: the name, the ASCII letters in it, and those in it under
//     (?i), each as 32 hexadecimal digits, letter 0 being the lowest bit.
// truth: FILE holds a pattern a line and, after an empty line, names; all in Java's escapes for letters by number and for the backslash,
//     as is what is written: a pattern a line, then a tab and either `=` and a digit for each name in order,
//     1 where it matches, or `!` and why the pattern is refused. The names stand first, after `names`.
//     To the patterns of FILE random ones are added, made of pieces of them.

import com.google.re2j.*;
import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;

public class Patterns {
    static final java.io.PrintStream out = new java.io.PrintStream(System.out, true, StandardCharsets.UTF_8);

    public static void main(String[] args) throws Exception {
        if (args[0].equals("classes")) classes(); else truth(Path.of(args[1]));
    }

    static void classes() throws Exception {
        TreeSet<String> names = new TreeSet<>(List.of("Any"));
        Class<?> tables = Class.forName("com.google.re2j.UnicodeTables");
        for (String table : new String[] {"CATEGORIES", "SCRIPTS"}) {
            Field field = tables.getDeclaredField(table);
            field.setAccessible(true);
            for (Object name : ((Map<?, ?>) field.get(null)).keySet()) names.add((String) name);
        }
        for (String name : names) {
            out.println(name + " " + ascii("\\p{" + name + "}") + " " + ascii("(?i)\\p{" + name + "}"));
        }
    }

    static String ascii(String pattern) {
        Pattern compiled = Pattern.compile(pattern);
        java.math.BigInteger set = java.math.BigInteger.ZERO;
        for (int c = 0; c < 128; c++) if (compiled.matcher("" + (char) c).matches()) set = set.setBit(c);
        return String.format("%032x", set);
    }

    static void truth(Path file) throws Exception {
        List<String> lines = Files.readAllLines(file);
        int gap = lines.indexOf("");
        List<String> patterns = new ArrayList<>(), names = new ArrayList<>();
        for (String line : lines.subList(0, gap)) patterns.add(unescape(line));
        for (String line : lines.subList(gap + 1, lines.size())) names.add(unescape(line));
        StringJoiner all = new StringJoiner("\t");
        for (String name : names) all.add(escape(name));
        out.println("names\t" + all);
        LinkedHashSet<String> asked = new LinkedHashSet<>(patterns);
        Random random = new Random(28);
        String pieces = "abcKks_-.019[]()*+?{},|^$\\:!&~=<>PpQEdDwWsSbBzZAxiUm \u017f\u212a\u00e9\n";
        while (asked.size() < patterns.size() + 1200) {
            String base = patterns.get(random.nextInt(patterns.size()));
            String other = patterns.get(random.nextInt(patterns.size()));
            String made = switch (random.nextInt(5)) {
                case 0 -> base + other;
                case 1 -> base + "|" + other;
                case 2 -> "(?:" + base + ")" + List.of("*", "+", "?", "{2}", "{0,2}", "{1,}", "*?", "+*").get(random.nextInt(8));
                case 3 -> List.of("(?i)", "(?s)", "(?m)", "(?i-s)", "(?-i)", "[^", "(").get(random.nextInt(7)) + base;
                default -> {
                    StringBuilder b = new StringBuilder(base);
                    for (int i = random.nextInt(3); i >= 0; i--) {
                        b.insert(random.nextInt(b.length() + 1), pieces.charAt(random.nextInt(pieces.length())));
                    }
                    yield b.toString();
                }
            };
            if (made.length() < 60) asked.add(made);
        }
        for (String pattern : asked) {
            // RE2/J never ends over some folded classes, such as (?i)[\x{100}-\x{3000}]: those are left out.
            String[] answer = new String[1];
            Thread thread = new Thread(() -> answer[0] = answer(pattern, names));
            thread.setDaemon(true);
            thread.start();
            thread.join(5000);
            if (answer[0] != null) out.println(escape(pattern) + "\t" + answer[0]);
            else System.err.println("no end: " + escape(pattern));
        }
        System.exit(0);
    }

    static String answer(String pattern, List<String> names) {
        try {
            Pattern compiled = Pattern.compile(pattern);
            StringBuilder matches = new StringBuilder("=");
            for (String name : names) matches.append(compiled.matcher(name).matches() ? '1' : '0');
            return matches.toString();
        } catch (PatternSyntaxException refused) {
            return "!" + refused.getDescription();
        } catch (RuntimeException unexpected) {
            return "?" + unexpected;
        }
    }

    static String escape(String text) {
        StringBuilder b = new StringBuilder();
        for (char c : text.toCharArray()) {
            if (c == '\\') b.append("\\\\");
            else if (c < ' ' || c > '~') b.append(String.format("\\u%04x", (int) c));
            else b.append(c);
        }
        return b.toString();
    }

    static String unescape(String text) {
        StringBuilder b = new StringBuilder();
        for (int i = 0; i < text.length(); i++) {
            if (text.charAt(i) != '\\') b.append(text.charAt(i));
            else if (text.charAt(++i) == 'u') {
                b.append((char) Integer.parseInt(text.substring(i + 1, i + 5), 16));
                i += 4;
            } else b.append(text.charAt(i));
        }
        return b.toString();
    }
}
