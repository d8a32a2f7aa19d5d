// How often each word occurs, most frequent first.
//
//   wordfreq [-n COUNT] [-m LETTERS] [FILE]...    the COUNT (10) most frequent words of at least LETTERS (1) bytes
//
// Words are runs of letters (and of any bytes above 127, so UTF-8 survives), compared in lower case.
// Without FILE: standard input. Exit code 1 if a file cannot be read, 2 on a usage error.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <memory>
#include <numeric>
#include <optional>
#include <sstream>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace {

class WordCounter {
  public:
    explicit WordCounter(std::size_t shortest) : shortest_(shortest) {}

    void read(std::istream &in) {
        std::string line, word;
        while (std::getline(in, line)) {
            for (char c : line) {
                if (const auto byte = static_cast<unsigned char>(c); byte >= 128 || (byte | 32U) - 'a' < 26U) {
                    word += byte >= 128 ? c : static_cast<char>(byte | 32U);
                } else {
                    finish(word);
                }
            }
            finish(word);
        }
    }

    std::size_t total() const {
        return std::accumulate(counts_.begin(), counts_.end(), std::size_t{0},
                               [](std::size_t sum, const auto &entry) { return sum + entry.second; });
    }

    std::size_t distinct() const { return counts_.size(); }

    std::vector<std::pair<std::string, std::size_t>> most_frequent(std::size_t count) const {
        std::vector<std::pair<std::string, std::size_t>> words(counts_.begin(), counts_.end());
        std::sort(words.begin(), words.end(), [](const auto &a, const auto &b) {
            return a.second != b.second ? a.second > b.second : a.first < b.first;
        });
        words.resize(std::min(words.size(), count));
        return words;
    }

  private:
    void finish(std::string &word) {
        if (word.size() >= shortest_ && !word.empty()) ++counts_[word];
        word.clear();
    }

    std::size_t shortest_;
    std::unordered_map<std::string, std::size_t> counts_;
};

// The whole contents of a file; zig's libc++ for WASI has no <fstream>.
std::optional<std::string> contents(const std::string &path) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE *)> file(std::fopen(path.c_str(), "rb"), std::fclose);
    if (!file) return std::nullopt;
    std::string text;
    std::vector<char> buffer(65536);
    while (const std::size_t size = std::fread(buffer.data(), 1, buffer.size(), file.get())) {
        text.append(buffer.data(), size);
    }
    if (std::ferror(file.get())) return std::nullopt;
    return text;
}

int usage() {
    std::cerr << "usage: wordfreq [-n COUNT] [-m LETTERS] [FILE]...\n";
    return 2;
}

} // namespace

int main(int argc, char **argv) {
    std::vector<std::string> arguments(argv + 1, argv + argc);
    std::size_t count = 10, shortest = 1, next = 0;
    for (; next < arguments.size() && (arguments[next] == "-n" || arguments[next] == "-m"); next += 2) {
        if (next + 1 == arguments.size()) return usage();
        char *rest = nullptr;
        const unsigned long number = std::strtoul(arguments[next + 1].c_str(), &rest, 10);
        if (*rest != '\0') return usage();
        (arguments[next] == "-n" ? count : shortest) = number;
    }
    std::ios::sync_with_stdio(false);
    WordCounter counter(shortest);
    int exit_code = 0;
    if (next == arguments.size()) counter.read(std::cin);
    for (; next < arguments.size(); ++next) {
        if (const auto text = contents(arguments[next])) {
            std::istringstream stream(*text);
            counter.read(stream);
        } else {
            std::cerr << "wordfreq: cannot read " << arguments[next] << '\n';
            exit_code = 1;
        }
    }
    for (const auto &[word, occurrences] : counter.most_frequent(count)) {
        std::cout << std::setw(7) << occurrences << "  " << word << '\n';
    }
    std::cout << counter.total() << " words, " << counter.distinct() << " different\n";
    return exit_code;
}
