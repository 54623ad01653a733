with

weeks as (

    select as_of_date from {{ source('intermediate', 'requested_weeks') }}

),

scores as (

    select * from {{ source('scores', 'client_scores') }} where as_of_date in (select as_of_date from weeks)

),

final as (

    select
        scores.client_id,
        scores.model_id,
        scores.champion,
        scores.band,
        scores.split,
        cast(scores.bcrs_score as double) as bcrs_score,
        cast(scores.bcrs_probability_ratio as double) as bcrs_probability_ratio,
        cast(scores.linear_score as double) as linear_score,
        cast(scores.boosting_score as double) as boosting_score,
        cast(scores.bayesian_score as double) as bayesian_score,
        cast(p1.pillar_score as double) as p1_volume_velocity_score,
        cast(p2.pillar_score as double) as p2_network_score,
        cast(p3.pillar_score as double) as p3_temporal_score,
        cast(p4.pillar_score as double) as p4_typology_score,
        cast(p5.pillar_score as double) as p5_profile_score,
        cast(p6.scheme_score as double) as p6_scheme_score,
        cast(scores.rank_in_week_count as bigint) as rank_in_week_count,
        cast(scores.is_alert as boolean) as is_alert,
        cast(scores.as_of_date as date) as as_of_date
    from scores
    left join {{ source('tier1', 'tier1_p1_volume_velocity') }} as p1 using (client_id, as_of_date)
    left join {{ source('tier1', 'tier1_p2_network') }} as p2 using (client_id, as_of_date)
    left join {{ source('tier1', 'tier1_p3_temporal') }} as p3 using (client_id, as_of_date)
    left join {{ source('tier1', 'tier1_p4_typology') }} as p4 using (client_id, as_of_date)
    left join {{ source('tier1', 'tier1_p5_profile') }} as p5 using (client_id, as_of_date)
    left join {{ source('tier2', 'tier2_scheme') }} as p6 using (client_id, as_of_date)

)

select * from final
