"""pin-derive: a network of constraints, in Rust. The program of its first page."""

from pin_derive import Network, by, count, permits, point, product, quantize, ranges, sum_over

PRICES = {"potion": 4, "gem": 9, "rope": 2, "torch": 1}

with Network() as net:
    price, margin, profit = (net.cell(name, {"lo": 0}) for name in ("price", "margin", "profit"))
    model = net.finite("model", ["krea2", "flux"])
    sampler = net.finite("sampler", ["euler", "dpmpp_2m", "res_multistep"])
    steps = net.cell("steps", {"lo": 1, "hi": 100})
    raw, width, number, spent = (net.cell(name, {"lo": 0}) for name in ("raw", "width", "number", "spent"))
    loot = net.set("loot", list(PRICES))
    net.relate(product(profit, price, margin))
    net.relate(permits(model, sampler, {"krea2": ["euler", "res_multistep"], "flux": ["euler", "dpmpp_2m"]}))
    net.relate(ranges(model, {"krea2": {"steps": [4, 12]}, "flux": {"steps": [20, 30]}}))
    net.relate(quantize(width, raw, by(model, {"krea2": 16, "flux": 64})))
    net.relate(count(number, loot))
    net.relate(sum_over(spent, loot, PRICES))
    net.pin(price, point(50)).pin(margin, point(0.2)).pin(steps, {"lo": 20, "hi": 30})
    net.pin(number, {"lo": 3, "hi": 5}).pin(loot, has_none=["torch"], name="no-torch")
    print(net.solve(), net.value(profit), net.value(spent), net.possible(model), net.must(loot))
    print(net.decisions(), net.eliminated(model), net.why(model)[0]["sentence"])
