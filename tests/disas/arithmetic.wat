;; Templates, conditions taken as i1, trapping division, hidden float constants.
(module
  (func (param i32 i32) (result i32)
    (if (result i32) (i32.lt_s (local.get 0) (local.get 1))
      (then (i32.div_s (local.get 0) (local.get 1)))
      (else (i32.rem_u (local.get 0) (i32.const 10)))))
  (func (param f64) (result f64) (f64.mul (local.get 0) (f64.const 1)))
  (func (param f32) (result i32) (i32.trunc_f32_s (local.get 0)))
  (func (param i64) (result i32) (i32.eqz (i64.eqz (local.get 0)))))

;;; IR
;; define weak dso_local i32 @f0(ptr %vmctx, i32 %p0, i32 %p1) #0 !dbg !20 {
;; entry:
;;   br label %start
;; start:
;;   %c1 = icmp slt i32 %p0, %p1
;;   br i1 %c1, label %h1, label %e1
;; h1:
;;   %x2 = icmp eq i32 %p1, 0
;;   br i1 %x2, label %t4, label %k3, !prof !3
;; k3:
;;   %x5 = icmp eq i32 %p1, -1
;;   %x6m = icmp eq i32 %p0, -2147483648
;;   %x6 = and i1 %x6m, %x5
;;   br i1 %x6, label %t8, label %k7, !prof !3
;; k7:
;;   %x9 = sdiv i32 %p0, %p1
;;   br label %b1
;; e1:
;;   %x10 = urem i32 %p0, 10
;;   br label %b1
;; b1:
;;   %b1.0 = phi i32 [ %x9, %k7 ], [ %x10, %e1 ]
;;   ret i32 %b1.0
;; t4:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 55, scope: !20)
;;   call void @llvm.ubsantrap(i8 7) #1, !dbg !DILocation(line: 55, scope: !20)
;;   unreachable
;; t8:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 55, scope: !20)
;;   call void @llvm.ubsantrap(i8 6) #1, !dbg !DILocation(line: 55, scope: !20)
;;   unreachable
;; }

;; define weak dso_local double @f1(ptr %vmctx, double %p0) #0 !dbg !21 {
;; entry:
;;   br label %start
;; start:
;;   %x1 = call double asm "", "=x,0"(double 0x3FF0000000000000) #2
;;   %v1 = fmul double %p0, %x1
;;   ret double %v1
;; }

;; define weak dso_local i32 @f2(ptr %vmctx, float %p0) #0 !dbg !22 {
;; entry:
;;   br label %start
;; start:
;;   %x1l = fcmp ogt float %p0, 0xC1E0000020000000
;;   %x1h = fcmp olt float %p0, 0x41E0000000000000
;;   %x1o = and i1 %x1l, %x1h
;;   br i1 %x1o, label %k2, label %t2, !prof !4
;; k2:
;;   %x1 = fptosi float %p0 to i32
;;   ret i32 %x1
;; t3:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 83, scope: !22)
;;   call void @llvm.ubsantrap(i8 6) #1, !dbg !DILocation(line: 83, scope: !22)
;;   unreachable
;; t4:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 83, scope: !22)
;;   call void @llvm.ubsantrap(i8 8) #1, !dbg !DILocation(line: 83, scope: !22)
;;   unreachable
;; t2:
;;   %x1n = fcmp uno float %p0, %p0
;;   br i1 %x1n, label %t4, label %t3
;; }

;; define weak dso_local i32 @f3(ptr %vmctx, i64 %p0) #0 !dbg !23 {
;; entry:
;;   br label %start
;; start:
;;   %c1 = icmp eq i64 %p0, 0
;;   %c2 = xor i1 %c1, true
;;   %v2 = zext i1 %c2 to i32
;;   ret i32 %v2
;; }
